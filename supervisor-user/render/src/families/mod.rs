//! Renders the families of un-reaped processes: the page of each family, as text for a terminal, and the book
//! docs/families.md. The program carries the pages.

mod pages;

use std::fmt::Write as _;

use supervisor_model::{family::Family, words::wrap};

use self::pages::page;

pub use self::pages::FamilyPage;

/// Columns of a page on a terminal.
const TERMINAL_COLUMNS: usize = 80;

/// Columns of the book's source.
const BOOK_COLUMNS: usize = 110;

/// The page as plain text for a terminal of 80 columns.
#[must_use]
pub fn page_text(family: Family) -> String {
    let page = page(family);
    let mut out = format!("{} {}\n{}\n", family.id(), family.name(), family.title());
    for (title, text) in [("Looks like", page.looks_like), ("Why", page.why), ("Evidence", page.evidence)] {
        let _infallible = write!(out, "\n{}\n", title.to_uppercase());
        wrap(&mut out, text, "  ", "  ", TERMINAL_COLUMNS);
    }
    for (title, items) in
        [("Do", page.remedies), ("Will not help", page.wont_help), ("Sources", page.sources)]
    {
        let _infallible = write!(out, "\n{}\n", title.to_uppercase());
        for item in items {
            wrap(&mut out, item, "  - ", "    ", TERMINAL_COLUMNS);
        }
    }
    out
}

/// The whole of docs/families.md.
#[must_use]
pub fn book() -> String {
    let mut out = String::new();
    for (i, paragraph) in pages::INTRO.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        wrap(&mut out, paragraph, "", "", BOOK_COLUMNS);
    }
    out.push_str("\n| | question | page |\n|---|---|---|\n");
    for (i, (question, families)) in pages::WHICH.iter().enumerate() {
        let links: Vec<String> = families.iter().map(|family| link(*family)).collect();
        let _infallible = writeln!(out, "| {} | {question} | {} |", i + 1, links.join(", "));
    }
    for paragraph in pages::BESIDE {
        out.push('\n');
        wrap(&mut out, paragraph, "", "", BOOK_COLUMNS);
    }
    for family in Family::ALL {
        section(&mut out, family);
    }
    out
}

fn section(out: &mut String, family: Family) {
    let page = page(family);
    let _infallible = write!(out, "\n## {}\n\n`{}`\n", family.heading(), family.name());
    for (title, text) in [("Looks like", page.looks_like), ("Why", page.why), ("Evidence", page.evidence)] {
        out.push('\n');
        wrap(out, &format!("**{title}.** {text}"), "", "", BOOK_COLUMNS);
    }
    for (title, items) in [("Do", page.remedies), ("Will not help", page.wont_help)] {
        let _infallible = write!(out, "\n**{title}:**\n\n");
        for item in items {
            wrap(out, item, "- ", "  ", BOOK_COLUMNS);
        }
    }
    let sources: Vec<String> = page.sources.iter().map(|source| source_link(source)).collect();
    out.push('\n');
    wrap(out, &format!("Sources: {}.", sources.join(", ")), "", "", BOOK_COLUMNS);
}

fn link(family: Family) -> String {
    format!("[{} {}](#{})", family.id(), family.name(), family.anchor())
}

/// A thread `owner/repo#N` becomes a link; GitHub redirects from issues to pull requests.
fn source_link(source: &str) -> String {
    match source.split_once('#') {
        Some((repository, number)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            format!("[{source}](https://github.com/{repository}/issues/{number})")
        }
        _ => source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_and_names_are_unique_and_parse_back() {
        let mut seen = HashSet::new();
        for (i, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family.id(), format!("F{}", i + 1));
            assert!(family.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'1'));
            for text in [family.id(), family.name(), family.title()] {
                assert!(seen.insert(text), "{text} is there twice");
            }
            let number = (i + 1).to_string();
            for text in [family.id().to_owned(), family.id().to_lowercase(), family.name().to_owned(), number]
            {
                assert_eq!(text.parse(), Ok(family));
            }
            assert_eq!(serde_json::to_string(&family).expect("JSON"), format!("\"{}\"", family.id()));
        }
    }

    #[test]
    fn an_unknown_family_names_the_valid_ones() {
        let error = "F99".parse::<Family>().expect_err("there is no F99").to_string();
        assert!(error.starts_with("there is no family \"F99\"; there are F1, F2, "), "{error}");
        assert!(error.ends_with(", F24"), "{error}");
    }

    #[test]
    fn every_family_has_a_page() {
        for family in Family::ALL {
            let page = page(family);
            for text in [page.looks_like, page.why, page.evidence] {
                assert!(text.len() > 80, "{family}: too short: {text}");
            }
            for list in [page.remedies, page.wont_help, page.sources] {
                assert!(!list.is_empty() && list.iter().all(|item| !item.is_empty()), "{family}");
            }
            for text in [page.looks_like, page.why, page.evidence]
                .iter()
                .chain(page.remedies.iter().chain(page.wont_help).chain(page.sources))
            {
                assert!(text.matches('`').count() % 2 == 0, "{family}: open code span: {text}");
                assert!(!text.contains('\n') && !text.contains("  "), "{family}: {text:?}");
            }
        }
    }

    #[test]
    fn pages_fit_a_terminal() {
        for family in Family::ALL {
            for line in page_text(family).lines() {
                assert!(line.chars().count() <= TERMINAL_COLUMNS, "{family}: {line}");
            }
        }
    }

    #[test]
    fn anchors_exist_in_the_book() {
        let book = book();
        let headings: HashSet<String> = book
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .map(supervisor_model::family::slug)
            .collect();
        for family in Family::ALL {
            assert!(headings.contains(&family.anchor()), "{family}");
        }
        for target in book.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(headings.contains(target), "{target}");
        }
    }

    /// A line that begins like a list, a heading or a quotation would be read as one.
    #[test]
    fn wrapping_makes_no_markup() {
        for line in book().lines().map(str::trim_start) {
            let first = line.split(' ').next().unwrap_or_default();
            let numbered = first.ends_with('.') && first.trim_end_matches('.').parse::<u32>().is_ok();
            assert!(!numbered && !matches!(first, "+" | "*" | ">" | "="), "{line}");
        }
        let dashes = book().lines().filter(|line| line.trim_start().starts_with("- ")).count();
        let items: usize =
            Family::ALL.iter().map(|f| page(*f).remedies.len() + page(*f).wont_help.len()).sum();
        assert_eq!(dashes, items);
    }

    /// `UPDATE_GOLDEN=1` writes the book again.
    #[test]
    fn the_book_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/families.md");
        let book = book();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &book).expect("the book can be written");
        }
        let written = std::fs::read_to_string(path).expect("the book exists");
        assert_eq!(written, book, "docs/families.md is generated: UPDATE_GOLDEN=1 writes it");
    }
}
