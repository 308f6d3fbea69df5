//! The worker of the Prefect engine: flows, ETL, DAGs. Runs are kept by a Prefect server: the one that
//! `PREFECT_API_URL` names, or one that the worker starts beside its host.

use mahavishnu_worker::{Engine, Sidecar};

/// Prefect.
pub const ENGINE: Engine = Engine {
    name: "prefect",
    requirements: include_str!("../requirements.lock"),
    packages: &["prefect", "duckdb", "fastapi"],
    sidecar: Some(Sidecar {
        module: "mahavishnu_host.prefect_server",
        directory: "prefect",
        variable: "PREFECT_API_URL",
        home: "PREFECT_HOME",
        // It is of the client's own version, so no attempt need ask for it.
        own: &[
            ("PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", "false"),
            // Each client would ask for a token, to be told that none is needed.
            ("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "false"),
        ],
    }),
};
