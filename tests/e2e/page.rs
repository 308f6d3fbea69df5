//! A page of documentation, taken apart: paragraphs, tables, blocks of code.

use std::path::Path;

/// A page.
pub struct Page {
    /// As it stands.
    pub text: String,
    parts: Vec<Part>,
}

/// A part of a page.
pub enum Part {
    /// Its lines, joined.
    Paragraph(String),
    Table(Table),
    Code {
        language: String,
        text: String,
    },
}

/// A table.
pub struct Table {
    /// Its headings.
    pub header: Vec<String>,
    /// Its cells.
    pub rows: Vec<Vec<String>>,
}

impl Page {
    /// From a file.
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let mut parts = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                parts.push(Part::Code { language: language.to_owned(), text: inside.join("\n") });
            } else if line.starts_with('|') {
                lines.next();
                let mut table = Table { header: cells(line), rows: Vec::new() };
                while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                    table.rows.push(cells(row));
                }
                parts.push(Part::Table(table));
            } else if !line.is_empty() {
                let mut paragraph = line.to_owned();
                while let Some(more) = lines
                    .next_if(|line| !line.is_empty() && !line.starts_with('|') && !line.starts_with("```"))
                {
                    paragraph = format!("{paragraph} {more}");
                }
                parts.push(Part::Paragraph(paragraph));
            }
        }
        Self { text, parts }
    }

    /// The tables.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.parts.iter().filter_map(|part| if let Part::Table(table) = part { Some(table) } else { None })
    }

    /// The table with this heading over its first column.
    pub fn table(&self, heading: &str) -> Option<&Table> {
        self.tables().find(|table| table.header[0] == heading)
    }

    /// The row that begins with this word.
    pub fn row(&self, word: &str) -> &[String] {
        let mut rows = self.tables().flat_map(|table| &table.rows);
        rows.find(|row| words(&row[0]) == [word]).unwrap_or_else(|| panic!("no row of {word}"))
    }

    /// The paragraphs.
    pub fn paragraphs(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Paragraph(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The blocks of code: the paragraph right before, if there is one, the language, the text.
    pub fn blocks(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.parts.iter().enumerate().filter_map(|(n, part)| {
            let Part::Code { language, text } = part else { return None };
            let before = match n.checked_sub(1).and_then(|before| self.parts.get(before)) {
                Some(Part::Paragraph(text)) => text.as_str(),
                _ => "",
            };
            Some((before, language.as_str(), text.as_str()))
        })
    }
}

/// What stands in backquotes.
pub fn words(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}
