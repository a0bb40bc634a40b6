//! The licence texts of everything in the program, each once.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;

use crate::components::Components;

/// First letters of a licence file's name.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// A list of crates with their licences, then the texts with the crates that carry them. Crates
/// whose archive holds no text are in the list alone.
pub fn texts(components: &Components) -> Result<String, Box<dyn Error>> {
    let mut out = String::from(
        "The program weir contains code of these crates, under the licence that stands behind each.\n\
         Where a choice is offered (OR), any of them; the texts follow as the crates carry them.\n\n",
    );
    let mut carriers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (place, component) in components.list.iter().enumerate() {
        if place == components.root {
            continue;
        }
        let title = format!("{} {}", component.name, component.version);
        writeln!(out, "{title}: {}", component.licence)?;
        let mut paths: Vec<_> = fs::read_dir(&component.folder)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
                path.is_file() && NAMES.iter().any(|begin| name.starts_with(begin))
            })
            .collect();
        paths.sort();
        for path in paths {
            let text = String::from_utf8_lossy(&fs::read(path)?).replace("\r\n", "\n");
            carriers.entry(text.trim().to_owned()).or_default().push(title.clone());
        }
    }
    for (text, mut titles) in carriers {
        titles.dedup();
        write!(out, "\n\n{:=<78}\n{}\n\n{text}\n", "", titles.join(", "))?;
    }
    Ok(out)
}
