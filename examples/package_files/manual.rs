//! Man pages: one a command from the definition of the command line, weir.toml(5) from the reference.

use std::error::Error;
use std::fmt::Write as _;

use clap_mangen::Man;

/// A man page: its file's name and its text.
type Page = (String, Vec<u8>);

/// weir.1, weir-run.1, …
pub fn commands(mut definition: clap::Command, date: &str) -> Result<Vec<Page>, Box<dyn Error>> {
    definition = definition.disable_help_subcommand(true);
    definition.build();
    let mut pages = vec![page(definition.clone(), "weir", date)?];
    for command in definition.get_subcommands() {
        // Man pages are no place for a name with a blank.
        let name = format!("weir-{}", command.get_name());
        let command = command.clone().version(env!("CARGO_PKG_VERSION"));
        pages.push(page(command, &name, date)?);
    }
    Ok(pages)
}

fn page(command: clap::Command, name: &str, date: &str) -> Result<Page, Box<dyn Error>> {
    let name_static: &'static str = String::from(name).leak();
    let man = Man::new(command.name(name_static))
        .title(name.to_uppercase())
        .section("1")
        .date(date)
        .source(concat!("weir ", env!("CARGO_PKG_VERSION")))
        .manual("weir");
    let mut text = Vec::new();
    man.render(&mut text)?;
    text.extend_from_slice(
        b".SH SEE ALSO\n\\fBweir\\fR(1), \\fBweir.toml\\fR(5), /usr/share/doc/weir/\n",
    );
    Ok((format!("{name}.1"), text))
}

/// weir.toml(5) from the Markdown of the configuration reference: headings, paragraphs, lists,
/// tables (a row is an entry: its first cell, then the others), code.
pub fn configuration(markdown: &str, date: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = format!(
        ".TH \"WEIR.TOML\" \"5\" \"{date}\" \"weir {version}\" \"weir\"\n\
         .SH NAME\nweir.toml \\- configuration of weir(1)\n.SH DESCRIPTION\n"
    );
    let (mut code, mut header): (bool, Option<Vec<String>>) = (false, None);
    for line in markdown.lines() {
        if line.starts_with("```") {
            code = !code;
            out.push_str(if code { ".PP\n.RS 4\n.nf\n" } else { ".fi\n.RE\n.PP\n" });
        } else if code {
            let _ = writeln!(out, "{}", guarded(&escaped(line)));
        } else if line.starts_with("# ") {
            // The page has its own title.
        } else if let Some(title) = line.strip_prefix("## ") {
            let _ = writeln!(
                out,
                ".SH \"{}\"",
                inline(title).to_uppercase().replace("\\FB", "").replace("\\FR", "")
            );
        } else if let Some(title) = line.strip_prefix("### ") {
            let _ = writeln!(out, ".SS \"{}\"", inline(title));
        } else if line.starts_with('|') {
            row(&mut out, line, &mut header);
            continue;
        } else if let Some(item) = line.strip_prefix("- ") {
            let _ = writeln!(out, ".IP \\(bu 2\n{}", guarded(&inline(item)));
        } else if line.trim().is_empty() {
            out.push_str(".PP\n");
        } else {
            let _ = writeln!(out, "{}", guarded(&inline(line.trim())));
        }
        header = None;
    }
    out.push_str(
        ".SH SEE ALSO\n\\fBweir\\fR(1), \\fBweir\\-check\\fR(1), \\fBweir\\-explain\\fR(1)\n",
    );
    out
}

/// A table's row. `header`: the names of its columns once they were read.
fn row(out: &mut String, line: &str, header: &mut Option<Vec<String>>) {
    let protected = line.replace("\\|", "\u{1}");
    let cells: Vec<String> = protected
        .trim()
        .trim_matches('|')
        .split('|')
        .map(|cell| inline(&cell.replace('\u{1}', "|")).trim().to_owned())
        .collect();
    if cells.iter().all(|cell| cell.replace("\\-", "").replace(':', "").is_empty()) {
        return;
    }
    let Some(names) = header else {
        *header = Some(cells);
        return;
    };
    let _ = writeln!(out, ".TP\n{}", guarded(&cells[0]));
    let mut parts = Vec::new();
    for (place, cell) in cells.iter().enumerate().skip(1) {
        if cell.is_empty() {
            continue;
        }
        match names.get(place).map(String::as_str) {
            Some(name @ ("default" | "range")) => parts.push(format!("{name}: {cell}")),
            _ => parts.push(cell.clone()),
        }
    }
    let _ = writeln!(out, "{}", guarded(&parts.join("; ")));
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// A line that begins like a request is none.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

/// Code and strong words in bold, links by their text.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (place, piece) in text.split('`').enumerate() {
        if place % 2 == 1 {
            let _ = write!(out, "\\fB{}\\fR", escaped(piece));
            continue;
        }
        let mut rest = piece;
        let mut plain = String::new();
        while let Some((before, after)) = rest.split_once('[') {
            let link = after
                .split_once("](")
                .and_then(|(name, tail)| tail.split_once(')').map(|(_, tail)| (name, tail)));
            plain.push_str(before);
            if let Some((name, tail)) = link {
                plain.push_str(name);
                rest = tail;
            } else {
                plain.push('[');
                rest = after;
            }
        }
        plain.push_str(rest);
        for (place, piece) in plain.split("**").enumerate() {
            if place % 2 == 1 {
                let _ = write!(out, "\\fB{}\\fR", escaped(piece));
            } else {
                out.push_str(&escaped(piece));
            }
        }
    }
    out
}
