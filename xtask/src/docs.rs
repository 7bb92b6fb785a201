//! Makes the parts of the documentation besides text: pictures of real sessions, and the book.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{
    binary,
    installed::Installed,
    plan::{DEMO, TESTS},
    process, setup,
};

/// The required version of mdBook.
const MDBOOK_VERSION: &str = "0.5.4";
/// The folder below cargo's target directory for mdBook.
const TOOLS: &str = "docs-tools";

/// What is made.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Make the pictures only
    #[arg(long, conflicts_with = "no_images")]
    no_book: bool,
    /// Make the book only
    #[arg(long)]
    no_images: bool,
}

/// Makes `docs/images/*.svg` again, and the book in `book/docs` below cargo's target directory.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !args.no_images {
        images()?;
    }
    if !args.no_book {
        println!("{}", book()?.display());
    }
    Ok(())
}

fn images() -> Result<()> {
    setup::ensure(&[&DEMO, &TESTS])?;
    ensure!(
        process::is_root(),
        "the pictures are of what is traced, which needs root: sudo -E env \"PATH=$PATH\" cargo xtask docs"
    );
    let supervisor = binary::build()?;
    let mut build = process::cargo();
    build.args(["build", "--locked", "--package", "supervisor-tests", "--bins", "--features", "bench"]);
    let host = binary::link_statically(&mut build)?;
    process::visibly(build)?;
    let mut screenshots = Command::new(process::target_dir()?.join(host).join("debug/screenshots"));
    process::without_cargo_run(&mut screenshots);
    screenshots.env("SUPERVISOR_BIN", supervisor);
    screenshots.arg("--out").arg(process::workspace().join("docs/images"));
    process::visibly(screenshots)
}

/// Makes the book. Returns its first page.
fn book() -> Result<PathBuf> {
    let root = process::target_dir()?.join("book");
    let pages = root.join("docs");
    let mut build = Command::new(mdbook()?);
    build.arg("build").arg("--dest-dir").arg(&pages).arg(process::workspace().join("docs"));
    process::visibly(build)?;
    // The pages link to the files in `deploy`, with the relative paths of the source tree.
    let mut copy = Command::new("cp");
    copy.arg("-rT").arg(process::workspace().join("deploy")).arg(root.join("deploy"));
    process::visibly(copy)?;
    Ok(pages.join("index.html"))
}

/// The program that makes the book. It is built if it is missing.
fn mdbook() -> Result<PathBuf> {
    let mdbook = Installed {
        package: "mdbook",
        program: "mdbook",
        version: MDBOOK_VERSION,
        answer: &format!("mdbook v{MDBOOK_VERSION}"),
        args: &["--no-default-features", "--features", "search", "--debug"],
        wanted: &format!("docs: mdbook {MDBOOK_VERSION}  (makes the book; some minutes)"),
    };
    mdbook.path(TOOLS)
}
