//! The bill of materials: CycloneDX 1.5, JSON (<https://cyclonedx.org/docs/1.5/json/>).

use std::error::Error;

use serde_json::{Value, json};

use crate::components::{Component, Components};

/// `epoch`: Unix seconds, the time it claims to be made at.
pub fn cyclonedx(components: &Components, epoch: i64) -> Result<String, Box<dyn Error>> {
    let reference =
        |component: &Component| format!("pkg:cargo/{}@{}", component.name, component.version);
    let entry = |component: &Component, kind: &str| {
        let mut entry = json!({
            "type": kind,
            "bom-ref": reference(component),
            "name": component.name,
            "version": component.version,
            "scope": "required",
            "licenses": [{ "expression": component.licence }],
            "purl": reference(component),
        });
        if let Some(checksum) = &component.checksum {
            entry["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        if let Some(repository) = &component.repository {
            entry["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
        }
        entry
    };
    let others: Vec<Value> = components
        .list
        .iter()
        .enumerate()
        .filter(|(place, _)| *place != components.root)
        .map(|(_, component)| entry(component, "library"))
        .collect();
    let dependencies: Vec<Value> = components
        .list
        .iter()
        .map(|component| {
            let on: Vec<String> =
                component.links.iter().map(|place| reference(&components.list[*place])).collect();
            json!({ "ref": reference(component), "dependsOn": on })
        })
        .collect();
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": jiff::Timestamp::from_second(epoch)?.to_string(),
            "component": entry(&components.list[components.root], "application"),
        },
        "components": others,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&bom)? + "\n")
}
