//! The embedded Python sources are part of the program: cargo must see when they change.

fn main() {
    println!("cargo::rerun-if-changed=python");
}
