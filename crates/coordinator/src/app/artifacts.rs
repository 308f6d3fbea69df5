//! Documents of clients and large payloads: storing, reading, looking at them, and removing what nothing refers to.
//!
//! Invariant: no artifact is removed that a history or a schedule refers to. Whoever is about to refer to one keeps it
//! first, which begins its time anew; only what nobody kept for `min_age` is looked at, and what somebody keeps while it
//! is looked at stays. So any number of coordinators may do this at once, and each may die anywhere in between.

use std::time::Duration;

use mahavishnu_bus::artifacts::{Artifact, Content, Upload};
use mahavishnu_bus::references::{References, Referrer, before, older_than};
use mahavishnu_core::id::ArtifactId;
use mahavishnu_core::violation::Violations;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::{App, Error, Page, Result};

/// Longer than it takes from keeping an artifact to storing what refers to it: nobody may ask for less, unless the
/// deployment itself does.
const SETTLED: Duration = Duration::from_secs(60);
/// The shortest and the longest time between two looks.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// The first look reads every history, and each lists every artifact: they take no more of the time than one part in so many.
const REST: u32 = 10;

impl App {
    /// Begins an upload.
    ///
    /// # Errors
    /// When there is no room for a temporary file.
    pub fn begin_upload(&self) -> Result<Upload> {
        Ok(self.bus.begin_upload()?)
    }

    /// Stores what was uploaded; gives its id and size.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn finish_upload(&self, upload: Upload) -> Result<(ArtifactId, u64)> {
        Ok(self.bus.finish_upload(upload).await?)
    }

    /// Reads an artifact.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn download(&self, id: &str) -> Result<Content> {
        let parsed = ArtifactId::parse(id).map_err(|_| missing(id))?;
        self.bus.open_artifact(&parsed).await.map_err(|error| match error {
            mahavishnu_bus::Error::NotFound => missing(id),
            error => error.into(),
        })
    }

    /// Artifacts by id, and the token of the next page; `unused` leaves out what something refers to.
    ///
    /// # Errors
    /// When the page is not one.
    pub async fn list_artifacts(&self, unused: bool, page: &Page) -> Result<(Vec<Artifact>, String)> {
        let mut violations = Violations::default();
        let size = page.size(&mut violations);
        violations.into_result(())?;
        let mut all = self.bus.artifacts().await?;
        all.retain(|artifact| artifact.id.as_str() > page.token.as_str());
        if unused {
            all = self.unused(all).await?;
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        let more = all.len() > size;
        all.truncate(size);
        let token = all.last().filter(|_| more).map(|last| last.id.to_string()).unwrap_or_default();
        Ok((all, token))
    }

    /// One artifact, with some of those who refer to it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn artifact(&self, id: &str) -> Result<(Artifact, Vec<Referrer>)> {
        let mut all = self.bus.artifacts().await?;
        all.retain(|artifact| artifact.id.as_str() == id);
        let artifact = all.pop().ok_or_else(|| missing(id))?;
        let referrers = self.references().await?.referrers(&artifact.id);
        Ok((artifact, referrers.into_iter().collect()))
    }

    /// Removes an artifact that nothing refers to.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] when something refers to it, or may be about to.
    pub async fn delete_artifact(&self, id: &str) -> Result<()> {
        let (artifact, referrers) = self.artifact(id).await?;
        if let Some(one) = referrers.first() {
            let who = match referrers.len() {
                1 => format!("{one} refers to it"),
                many => format!("{one} and {} others refer to it", many - 1),
            };
            let message = format!("{who}; it is freed when nothing does any more: {}", freeing(one));
            return Err(Error::Precondition { reason: "ARTIFACT_IN_USE", message });
        }
        let settled = self.settled();
        if artifact.kept >= before(settled) || !self.bus.remove_artifact(&artifact).await? {
            let settled = humantime::format_duration(settled);
            let message =
                format!("somebody stored or named it less than {settled} ago, and may be about to use it");
            return Err(Error::Precondition { reason: "ARTIFACT_IN_USE", message });
        }
        Ok(())
    }

    /// Removes what nothing refers to and nobody kept for `min_age`, or only finds it; gives what.
    ///
    /// # Errors
    /// When not every history could be read: then nothing is removed.
    pub async fn prune_artifacts(&self, min_age: Option<Duration>, dry_run: bool) -> Result<Vec<Artifact>> {
        let min_age = min_age.unwrap_or(self.retention.artifacts).max(self.settled());
        let unused = self.unused(older_than(self.bus.artifacts().await?, min_age)).await?;
        if dry_run {
            return Ok(unused);
        }
        let mut removed = Vec::new();
        for artifact in unused {
            if self.bus.remove_artifact(&artifact).await? {
                removed.push(artifact);
            }
        }
        self.bus.remove_loose_content(before(min_age)).await?;
        Ok(removed)
    }

    /// Prunes for ever: now and then, and after executions were removed.
    pub async fn collect_artifacts(self) {
        let pause = (self.retention.artifacts / REST).clamp(LOOKS.0, LOOKS.1);
        let mut rest = LOOKS.0;
        loop {
            let _ = tokio::time::timeout(pause, self.removed.notified()).await;
            tokio::time::sleep(rest).await;
            let began = Instant::now();
            match self.prune_artifacts(None, false).await {
                Ok(removed) if removed.is_empty() => {}
                Ok(removed) => {
                    let bytes: u64 = removed.iter().map(|artifact| artifact.size).sum();
                    tracing::info!(
                        removed = removed.len(),
                        bytes,
                        "artifacts removed that nothing refers to"
                    );
                }
                // The next look finds them again.
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "artifacts"),
            }
            rest = (began.elapsed() * REST).max(LOOKS.0);
        }
    }

    async fn unused(&self, artifacts: Vec<Artifact>) -> Result<Vec<Artifact>> {
        match artifacts.is_empty() {
            true => Ok(artifacts),
            false => Ok(self.references().await?.unused(artifacts)),
        }
    }

    /// Who refers to what, by now.
    async fn references(&self) -> Result<MutexGuard<'_, References>> {
        let mut known = self.references.lock().await;
        self.bus.read_references(&mut known).await?;
        Ok(known)
    }

    fn settled(&self) -> Duration {
        SETTLED.min(self.retention.artifacts)
    }
}

/// How somebody stops referring to artifacts.
fn freeing(referrer: &Referrer) -> String {
    match referrer {
        Referrer::Execution(id) => format!("mahavishnu executions delete {id}"),
        Referrer::Schedule(id) => format!("mahavishnu schedules update {id}, or delete"),
    }
}

fn missing(id: &str) -> Error {
    Error::NotFound {
        what: "artifact",
        name: id.to_owned(),
        hint: "an artifact is named by the SHA-256 of its content; list what there is: mahavishnu artifacts list".to_owned(),
    }
}
