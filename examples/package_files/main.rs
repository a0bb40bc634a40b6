//! What a package holds besides the program: man pages, completions, bill of materials, licences.
//!
//! `cargo run --example package_files -- FOLDER TARGET`; `TARGET` is the triple that the package is
//! for. Same sources, same bytes: times come from `$SOURCE_DATE_EPOCH`. Used by `cross/deb.sh`.

mod components;
mod licences;
mod manual;
mod sbom;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap_complete::Shell;
use components::Components;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(folder), Some(target), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: package_files FOLDER TARGET".into());
    };
    let folder = PathBuf::from(folder);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let epoch: i64 = env::var("SOURCE_DATE_EPOCH").ok().map_or(Ok(0), |text| text.parse())?;

    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    let date = jiff::Timestamp::from_second(epoch)?.strftime("%Y-%m-%d").to_string();
    for (name, text) in manual::commands(weir::cli::definition(), &date)? {
        fs::write(man.join(name), text)?;
    }
    let reference = fs::read_to_string(root.join("docs/configuration.md"))?;
    fs::write(man.join("weir.toml.5"), manual::configuration(&reference, &date))?;

    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut weir::cli::definition(), "weir", &completions)?;
    }

    let components = Components::read(root, &target)?;
    fs::write(folder.join("weir.cdx.json"), sbom::cyclonedx(&components, epoch)?)?;
    fs::write(folder.join("THIRD-PARTY"), licences::texts(&components)?)?;
    println!("{} components for {target} in {}", components.list.len() - 1, folder.display());
    Ok(())
}
