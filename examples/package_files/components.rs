//! The crates that end up in the program, as cargo resolves them for one target.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// Features of the packaged program; `cross/deb.sh` builds with the same.
const FEATURES: [&str; 3] = ["--no-default-features", "--features", "systemd"];

/// One crate.
pub struct Component {
    pub name: String,
    pub version: String,
    /// SPDX expression.
    pub licence: String,
    pub repository: Option<String>,
    pub folder: PathBuf,
    /// SHA-256 of the crate as the registry serves it; none for weir itself.
    pub checksum: Option<String>,
    /// Places in the list of what it links.
    pub links: BTreeSet<usize>,
}

/// All crates, sorted by name and version.
pub struct Components {
    pub list: Vec<Component>,
    /// Place of weir itself.
    pub root: usize,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
    root: String,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Components {
    /// Asks cargo. Build and test dependencies are left out, and so are procedural macros with what
    /// they need: nothing of them is in the program.
    pub fn read(root: &Path, target: &str) -> Result<Components, Box<dyn Error>> {
        let metadata =
            cargo(root, &["metadata", "--format-version=1", "--filter-platform", target])?;
        let metadata: Metadata = serde_json::from_slice(&metadata)?;
        let built = built(root, target)?;
        let lock: Lock = toml::from_str(&std::fs::read_to_string(root.join("Cargo.lock"))?)?;
        let mut checksums: BTreeMap<(String, String), Option<String>> = lock
            .package
            .into_iter()
            .map(|locked| ((locked.name, locked.version), locked.checksum))
            .collect();
        let packages: BTreeMap<&str, &Package> =
            metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
        let links = linked(&metadata, &packages, &built);

        let mut ids: Vec<&str> = links.keys().copied().collect();
        ids.sort_by_key(|id| (&packages[id].name, &packages[id].version));
        let place: BTreeMap<&str, usize> =
            ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        let list = ids
            .iter()
            .map(|id| {
                let package = packages[id];
                let key = (package.name.clone(), package.version.clone());
                let licence = package
                    .license
                    .as_deref()
                    .ok_or_else(|| format!("{}: no licence expression", package.name))?;
                Ok(Component {
                    name: package.name.clone(),
                    version: package.version.clone(),
                    // An old way to write it.
                    licence: licence.replace('/', " OR "),
                    repository: package.repository.clone(),
                    folder: package.manifest_path.parent().unwrap_or(root).to_owned(),
                    checksum: checksums.remove(&key).flatten(),
                    links: links[id].iter().map(|id| place[id]).collect(),
                })
            })
            .collect::<Result<_, String>>()?;
        Ok(Components { list, root: place[metadata.resolve.root.as_str()] })
    }
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<Vec<u8>, Box<dyn Error>> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(arguments)
        .arg("--locked")
        .args(FEATURES)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(output.stdout)
}

/// `name version` of each crate that is built into the program. `cargo metadata` alone says too much:
/// it turns on what tests would.
fn built(root: &Path, target: &str) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let tree = cargo(
        root,
        &[
            "tree",
            "--target",
            target,
            "--edges=normal,no-proc-macro",
            "--prefix=none",
            "--format={p}",
        ],
    )?;
    Ok(String::from_utf8(tree)?
        .lines()
        .filter_map(|line| line.split(" (").next())
        .map(|package| package.replacen(" v", " ", 1))
        .collect())
}

/// What each crate in the program links, from the root on.
fn linked<'a>(
    metadata: &'a Metadata,
    packages: &BTreeMap<&str, &Package>,
    built: &BTreeSet<String>,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let is_built = |id: &&str| {
        let package = packages[*id];
        built.contains(&format!("{} {}", package.name, package.version))
    };
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut waiting = vec![metadata.resolve.root.as_str()];
    while let Some(id) = waiting.pop() {
        if found.contains_key(id) {
            continue;
        }
        let links: BTreeSet<&str> = nodes[id]
            .deps
            .iter()
            .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()))
            .map(|dependency| dependency.pkg.as_str())
            .filter(is_built)
            .collect();
        waiting.extend(&links);
        found.insert(id, links);
    }
    found
}
