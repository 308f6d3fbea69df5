use super::*;

/// A graph that breaks no rule and uses every permission there is, with some packages from elsewhere.
fn sound() -> Graph {
    let mut graph = Graph::default();
    for (package, allowed) in LAYERS {
        graph.members.insert((*package).to_owned());
        allowed.iter().for_each(|name| graph.add(package, name));
    }
    graph.add("mahavishnu-core", "serde");
    graph.add("mahavishnu-bus", "async-nats");
    graph.add("async-nats", "tokio");
    graph
}

fn with(edges: &[(&str, &str)]) -> Vec<String> {
    let mut graph = sound();
    edges.iter().for_each(|(from, to)| graph.add(from, to));
    check(&graph)
}

#[test]
fn what_is_permitted_is_not_complained_of() {
    assert_eq!(check(&sound()), Vec::<String>::new());
}

#[test]
fn every_step_upwards_or_sideways_is_found() {
    for (from, to) in [
        ("mahavishnu-core", "mahavishnu-proto"),
        ("mahavishnu-proto", "mahavishnu-bus"),
        ("mahavishnu-bus", "mahavishnu-telemetry"),
        ("mahavishnu-bus", "mahavishnu-worker"),
        ("mahavishnu-worker", "mahavishnu-coordinator"),
        ("mahavishnu-coordinator", "mahavishnu-worker"),
        ("mahavishnu-coordinator", "mahavishnu-provision"),
        ("mahavishnu-worker-agno", "mahavishnu-core"),
        ("mahavishnu-worker-agno", "mahavishnu-worker-prefect"),
        ("mahavishnu", "mahavishnu-bus"),
        ("mahavishnu-worker", "mahavishnu-test-support"),
        ("mahavishnu-coordinator", "mahavishnu"),
    ] {
        assert_eq!(with(&[(from, to)]), [format!("{from} must not depend on {to}")]);
    }
}

#[test]
fn only_the_bus_may_name_nats() {
    let expected =
        "mahavishnu-worker must not depend on async-nats: only mahavishnu-bus, mahavishnu-bench may";
    assert_eq!(with(&[("mahavishnu-worker", "async-nats")]), [expected]);
}

#[test]
fn what_the_core_reaches_over_others_is_found_with_the_way() {
    let expected = "mahavishnu-core must not reach tokio: mahavishnu-core -> serde -> helper -> tokio";
    assert_eq!(with(&[("serde", "helper"), ("helper", "tokio")]), [expected]);
    assert_eq!(with(&[("serde", "helper"), ("helper", "serde")]), Vec::<String>::new());
}

#[test]
fn a_crate_without_a_layer_and_a_layer_without_a_crate_are_found() {
    let mut graph = sound();
    graph.members.insert("mahavishnu-new".to_owned());
    graph.members.remove("xtask");
    let expected = [
        "mahavishnu-new has no layer: say what it may depend on",
        "xtask has a layer and is not there any more",
    ];
    assert_eq!(check(&graph), expected);
}

#[test]
fn a_layer_names_only_what_stands_below_it() {
    let mut below = Vec::new();
    for (package, allowed) in LAYERS {
        assert!(allowed.iter().all(|name| below.contains(name)), "{package}");
        below.push(package);
    }
}

#[test]
fn the_real_workspace_is_read() {
    let graph = Graph::of_workspace(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(graph.members.contains("mahavishnu-core"));
    assert!(graph.of("mahavishnu-bus").any(|name| name == "async-nats"));
    // Only its tests use it.
    assert!(!graph.of("mahavishnu-bus").any(|name| name == "mahavishnu-test-support"));
    assert_eq!(graph.path("mahavishnu-bus", "tokio").unwrap().len(), 2);
}
