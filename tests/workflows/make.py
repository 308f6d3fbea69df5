"""Makes the sample material beside it: documents, a small database, a table.

    uv run --with fpdf2 --with python-docx tests/workflows/make.py

The same input gives the same bytes, so a difference in version control is a difference in the text. All of
it was written for this repository. Tests rely on names and numbers that stand in one document only.
"""

from __future__ import annotations

import datetime
import io
import sqlite3
import zipfile
from pathlib import Path

from docx import Document
from fpdf import FPDF

HERE = Path(__file__).resolve().parent
#: A fixed time in every file, so that they do not change from one day to the next.
MADE = datetime.datetime(2026, 1, 5, 9, 0, tzinfo=datetime.timezone.utc)

REQUIREMENTS = [
    ("title", "Kestrel Gate: requirements of the sign-in service"),
    (
        "text",
        "Kestrel Gate signs people in to the products of the Ostrava branch. It replaces three older services that"
        " kept passwords in different places. This document says what the service has to do; how it does it is in the"
        " specification of the token endpoint.",
    ),
    ("heading", "1. Sign-in and tokens"),
    (
        "text",
        "KG-1: After a successful sign-in the service shall issue a signed JWT access token that is valid for 847"
        " seconds and names its audience.",
    ),
    (
        "text",
        "KG-2: Refresh tokens must be rotated at every use and shall expire after 19 days. A refresh token that is"
        " used a second time ends all sessions of its owner.",
    ),
    (
        "text",
        "KG-3: Passwords shall be stored with Argon2id, using 64 MiB of memory and three passes. Plain or reversible"
        " storage is never allowed, not even for a migration.",
    ),
    (
        "text",
        "KG-4: After six failed attempts within ten minutes the account must be locked for 23 minutes. The owner is"
        " told by mail, and a steward can lift the lock earlier.",
    ),
    ("heading", "2. Browser sessions"),
    (
        "text",
        "Products that cannot hold a token keep a server-side session instead. The browser then has a cookie named"
        " kg_sid, which is HttpOnly, Secure and bound to one site.",
    ),
    ("text", "KG-5: A session shall end after 37 minutes without a request and in any case after nine hours."),
    ("page", ""),
    ("heading", "3. Releases and approval"),
    (
        "text",
        "Releases of Kestrel Gate carry the code name Brindlewick. A release is built every second Tuesday and runs"
        " for one day on the Tamarind test site before anyone decides about it.",
    ),
    (
        "text",
        "KG-6: A release steward must approve every Brindlewick deployment; without an approval nothing is deployed"
        " and the release ends.",
    ),
    (
        "text",
        "KG-7: A deployment that raises the share of failed sign-ins above 0.8 percent shall be rolled back within"
        " four minutes.",
    ),
    ("heading", "4. Operation"),
    (
        "text",
        "KG-8: The 99th percentile of the sign-in time shall stay below 140 milliseconds at 900 requests per second.",
    ),
    (
        "text",
        "KG-9: It is required to keep the audit log for 412 days. It records who signed in, from where and by which"
        " method, but no secrets.",
    ),
    (
        "text",
        "The service is watched by the night shift in Ostrava. Its telephone number is in the operations handbook and"
        " does not belong here.",
    ),
]

SPEC = [
    ("title", "Specification of the token endpoint"),
    (
        "text",
        "The token endpoint is the only way to a Kestrel Gate token. It is written in Python and has no state of its"
        " own: keys come from the vault called Quillfeather, sessions from the session store.",
    ),
    ("heading", "1. Interface"),
    (
        "text",
        "POST /v1/token takes a JSON object with the members subject, audience and proof. It answers with the members"
        " access_token, refresh_token and expires_in, or with an error code and a message.",
    ),
    (
        "text",
        "The function issue_token(subject, audience, now) shall return a token whose expiry is exactly 847 seconds"
        " after now. The function verify_token(token, now) must accept a clock difference of at most 11 seconds.",
    ),
    (
        "text",
        "An audience that is not registered must be answered with the code KG_UNKNOWN_AUDIENCE and status 403. A"
        " nonce that was seen before must be answered with the code KG_STALE_NONCE and status 409.",
    ),
    ("page", ""),
    ("heading", "2. Keys"),
    (
        "text",
        "Tokens are signed with Ed25519. A key lives for 90 days; the next one is published a week before it signs."
        " Services shall fetch the key set at most once in 15 minutes and must keep the last good one.",
    ),
    ("heading", "3. Tests"),
    (
        "text",
        "Every error code has a test. The test of the clock difference uses a false clock that runs 12 seconds late and"
        " expects a refusal.",
    ),
]

NOTE = [
    ("title", "Note on the Larkspur pilot"),
    (
        "text",
        "Larkspur is the pilot of the new sign-in service. For six weeks 240 people of the accounting department"
        " sign in with a hardware key instead of a password.",
    ),
    ("heading", "What was found"),
    (
        "text",
        "Sign-in became faster: the median fell from 11.2 to 3.6 seconds. Eleven keys were lost, and each loss cost the"
        " help desk 25 minutes. Nobody asked for passwords back.",
    ),
    ("heading", "What follows"),
    (
        "text",
        "The pilot shall be extended to the warehouse before the end of May. A spare key must be handed out with every"
        " first key.",
    ),
]

PORTAL = [
    ("title", "Requirements of the client portal"),
    (
        "text",
        "The client portal shows invoices and open orders to business clients. Its working title is Marmalade. It uses"
        " Kestrel Gate to sign people in and has no passwords of its own.",
    ),
    ("heading", "Access"),
    ("text", "CP-1: The portal shall accept access tokens of Kestrel Gate only, and must check their audience."),
    ("text", "CP-2: A client's administrator must be able to end all sessions of a colleague within 30 seconds."),
    ("heading", "Documents"),
    ("text", "CP-3: Invoices shall be shown as PDF within 2.5 seconds, and kept for eleven years."),
    (
        "table",
        [
            ("Role", "May see", "May approve"),
            ("viewer", "orders", "nothing"),
            ("buyer", "orders, invoices", "up to 7,300 euro"),
            ("administrator", "everything", "everything"),
        ],
    ),
    ("heading", "Languages"),
    (
        "text",
        "CP-4: The portal is required to speak Czech, German and English. Texts come from the translation desk in Brno"
        " and are never translated by machine.",
    ),
]

SIGN_INS = [
    (1, "ada", "jwt", "2026-01-04T08:00:12", 1, 96),
    (2, "ben", "session", "2026-01-04T08:01:40", 1, 131),
    (3, "ada", "jwt", "2026-01-04T08:17:02", 0, 88),
    (4, "eva", "hardware key", "2026-01-04T09:30:55", 1, 74),
    (5, "ben", "jwt", "2026-01-04T10:12:09", 1, 102),
]
RELEASES = """\
release,steward,approved,failed_share
Brindlewick 41,ines,true,0.31
Brindlewick 42,tomas,true,0.44
Brindlewick 43,ines,false,1.20
"""


def main() -> None:
    pdf("requirements.pdf", REQUIREMENTS)
    pdf("spec.pdf", SPEC)
    pdf("doc1.pdf", NOTE)
    docx("requirements.docx", PORTAL)
    database("project/database1.sqlite")
    (HERE / "project/data/releases.csv").write_text(RELEASES, "utf-8")


def pdf(name: str, parts: list) -> None:
    document = FPDF(format="A4")
    document.set_creation_date(MADE)
    document.set_title(parts[0][1])
    document.set_margins(22, 22)
    document.add_page()
    for kind, text in parts:
        if kind == "page":
            document.add_page()
        elif kind == "text":
            document.set_font("Helvetica", size=11)
            document.multi_cell(0, 6, text, align="L", new_x="LMARGIN", new_y="NEXT")
            document.ln(3)
        else:
            document.set_font("Helvetica", "B", size=18 if kind == "title" else 14)
            document.multi_cell(0, 9, text, align="L", new_x="LMARGIN", new_y="NEXT")
            document.ln(2)
    document.output(str(HERE / name))


def docx(name: str, parts: list) -> None:
    document = Document()
    document.core_properties.created = document.core_properties.modified = MADE.replace(tzinfo=None)
    document.core_properties.author = "Mahavishnu"
    for kind, content in parts:
        if kind == "table":
            table = document.add_table(rows=0, cols=len(content[0]))
            for row in content:
                for cell, value in zip(table.add_row().cells, row):
                    cell.text = value
        elif kind == "text":
            document.add_paragraph(content)
        else:
            document.add_heading(content, 0 if kind == "title" else 1)
    made = io.BytesIO()
    document.save(made)
    # The archive notes when each part was written.
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(HERE / name, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            fixed = zipfile.ZipInfo(entry.filename, MADE.timetuple()[:6])
            fixed.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(fixed, source.read(entry))


def database(name: str) -> None:
    path = HERE / name
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "CREATE TABLE sign_ins (id INTEGER PRIMARY KEY, account TEXT NOT NULL, method TEXT NOT NULL,"
            " at TEXT NOT NULL, succeeded INTEGER NOT NULL, millis INTEGER NOT NULL)"
        )
        connection.executemany("INSERT INTO sign_ins VALUES (?, ?, ?, ?, ?, ?)", SIGN_INS)
    connection.close()


if __name__ == "__main__":
    main()
