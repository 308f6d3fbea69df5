//! The registry, as the check of a workflow asks it.

use crate::engine::Registry;
use crate::workflow::Engines;

impl Engines for Registry {
    fn knows(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn nearest(&self, name: &str) -> Option<String> {
        Self::nearest(self, name).map(str::to_owned)
    }

    fn names(&self) -> Vec<String> {
        self.profiles().map(|profile| profile.name.to_string()).collect()
    }
}
