//! No two modules of one parent use each other, directly or through others: then each can be read by itself, in an order.
//! A parent and its children belong together and may.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use syn::{
    Attribute, Item, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

use crate::process;

/// A module, as the names from the root of its crate.
type Module = Vec<String>;

/// Which child of a module uses which other, each with one file that does.
type Uses = BTreeMap<Module, BTreeMap<(String, String), PathBuf>>;

/// Fails if there is a circle in a crate of the workspace.
pub(super) fn check() -> Result<()> {
    let root = process::workspace();
    let mut sources =
        vec![root.join("supervisor-ebpf/src"), root.join("supervisor-user/src"), root.join("xtask/src")];
    for entry in fs::read_dir(root.join("supervisor-user"))? {
        let source = entry?.path().join("src");
        if source.join("lib.rs").is_file() {
            sources.push(source);
        }
    }
    let mut circles = Vec::new();
    for source in sources {
        for circle in circles_below(&source)? {
            circles.push(format!("{}: {circle}", source.strip_prefix(root).unwrap_or(&source).display()));
        }
    }
    ensure!(
        circles.is_empty(),
        "modules use each other in a circle; move what both need to a third:\n{}",
        circles.join("\n")
    );
    Ok(())
}

/// The circles of one crate, each in words.
fn circles_below(source: &Path) -> Result<Vec<String>> {
    let mut modules: BTreeMap<Module, (PathBuf, syn::File)> = BTreeMap::new();
    for path in super::sources(source)? {
        let text = fs::read_to_string(&path)?;
        let file = syn::parse_file(&text).with_context(|| format!("cannot read {}", path.display()))?;
        modules.insert(module_of(source, &path), (path, file));
    }
    let tests: BTreeSet<Module> =
        modules.iter().flat_map(|(module, (_, file))| tests_of(module, file)).collect();
    modules.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    let known: BTreeSet<Module> = modules.keys().cloned().collect();
    let exports: BTreeMap<(Module, String), Module> =
        modules.iter().flat_map(|(module, (_, file))| exports(module, file)).collect();
    let mut uses = Uses::new();
    for (module, (path, file)) in &modules {
        let mut paths = Paths { module: module.clone(), found: Vec::new() };
        paths.visit_file(file);
        for target in paths.found {
            record(&mut uses, module, &resolved(&target, &known, &exports), path);
        }
    }
    Ok(uses.iter().filter_map(|(parent, uses)| circle(parent, uses)).collect())
}

/// The module of a file of a crate.
fn module_of(source: &Path, path: &Path) -> Module {
    let inner = path.strip_prefix(source).unwrap_or(path).with_extension("");
    let mut module: Module = inner.iter().map(|it| it.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|name| matches!(&**name, "mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// The children of a module that are there for tests only.
fn tests_of(module: &Module, file: &syn::File) -> Vec<Module> {
    let of_test = |item: &Item| match item {
        Item::Mod(child) if child.content.is_none() && is_test(&child.attrs) => {
            Some([&module[..], &[child.ident.to_string()]].concat())
        }
        _ => None,
    };
    file.items.iter().filter_map(of_test).collect()
}

/// What a module hands on of its children: a name, and the module that it comes from.
fn exports(module: &Module, file: &syn::File) -> Vec<((Module, String), Module)> {
    let mut found = Vec::new();
    for item in &file.items {
        let Item::Use(ItemUse { vis, tree, .. }) = item else { continue };
        if matches!(vis, Visibility::Inherited) {
            continue;
        }
        each(tree, &mut Vec::new(), &mut |path, name| {
            let mut target = absolute(module, path).unwrap_or_else(|| [&module[..], path].concat());
            target.pop();
            if target.len() > module.len() && target.starts_with(module) {
                found.push(((module.clone(), name.to_owned()), target));
            }
        });
    }
    found
}

/// The leaves of a `use`: the whole path, and the name that it gets.
fn each(tree: &UseTree, before: &mut Module, take: &mut dyn FnMut(&[String], &str)) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            each(&path.tree, before, take);
            before.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            take(before, before.last().cloned().unwrap_or_default().as_str());
        }
        UseTree::Name(name) => leaf(&name.ident.to_string(), &name.ident.to_string(), before, take),
        UseTree::Rename(rename) => leaf(&rename.ident.to_string(), &rename.rename.to_string(), before, take),
        UseTree::Glob(_) => leaf("*", "*", before, take),
        UseTree::Group(group) => group.items.iter().for_each(|tree| each(tree, before, take)),
    }
}

fn leaf(name: &str, shown: &str, before: &mut Module, take: &mut dyn FnMut(&[String], &str)) {
    before.push(name.to_owned());
    take(before, shown);
    before.pop();
}

/// A path from the root of the crate; `None` if it leads out of it.
fn absolute(module: &Module, path: &[String]) -> Option<Module> {
    match path.first().map(String::as_str)? {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([&module[..], &path[1..]].concat()),
        "super" => {
            let ups = path.iter().take_while(|it| *it == "super").count();
            let base = module.get(..module.len().checked_sub(ups)?)?;
            Some([base, &path[ups..]].concat())
        }
        _ => None,
    }
}

/// The paths of a file that stay in its crate, from its root.
struct Paths {
    module: Module,
    found: Vec<Module>,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(module) if is_test(&module.attrs) => {}
            Item::Mod(module) if module.content.is_some() => {
                self.module.push(module.ident.to_string());
                visit::visit_item_mod(self, module);
                self.module.pop();
            }
            Item::Use(item) if !is_test(&item.attrs) => each(&item.tree, &mut Vec::new(), &mut |path, _| {
                self.found.extend(absolute(&self.module, path));
            }),
            Item::Use(_) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Module = path.segments.iter().map(|it| it.ident.to_string()).collect();
        self.found.extend(absolute(&self.module, &names));
        visit::visit_path(self, path);
    }
}

/// Whether an item is there for tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|it| {
        it.path().is_ident("cfg") && it.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// The module that a path leads to: the longest part of it that is one, or the child that hands its next name on.
fn resolved(
    path: &[String],
    known: &BTreeSet<Module>,
    exports: &BTreeMap<(Module, String), Module>,
) -> Module {
    let length = (0..=path.len()).rev().find(|length| known.contains(&path[..*length])).unwrap_or(0);
    let module = path[..length].to_vec();
    match path.get(length).and_then(|name| exports.get(&(module.clone(), name.clone()))) {
        Some(target) if *target != module => {
            resolved(&[&target[..], &path[length..]].concat(), known, exports)
        }
        _ => module,
    }
}

/// Records a use between children of the same parent.
fn record(uses: &mut Uses, from: &Module, to: &Module, path: &Path) {
    let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    if let (Some(user), Some(used)) = (from.get(common), to.get(common)) {
        let edges = uses.entry(from[..common].to_vec()).or_default();
        edges.entry((user.clone(), used.clone())).or_insert_with(|| path.to_owned());
    }
}

/// One circle among the children of a module, if there is any.
fn circle(parent: &Module, uses: &BTreeMap<(String, String), PathBuf>) -> Option<String> {
    let children: BTreeSet<&String> = uses.keys().map(|(user, _)| user).collect();
    let way = children.iter().find_map(|start| way_back(start, uses))?;
    let steps: Vec<String> = way
        .windows(2)
        .map(|pair| {
            let file = uses.get(&(pair[0].clone(), pair[1].clone())).map(|it| it.display().to_string());
            format!("{} uses {} ({})", pair[0], pair[1], file.unwrap_or_default())
        })
        .collect();
    let parent = if parent.is_empty() { "its root".to_owned() } else { parent.join("::") };
    Some(format!("in {parent}: {}", steps.join(", ")))
}

/// The shortest way from a module back to itself.
fn way_back(start: &str, uses: &BTreeMap<(String, String), PathBuf>) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last()?;
            for (_, used) in uses.keys().filter(|(user, _)| user == last) {
                let way = [&way[..], std::slice::from_ref(used)].concat();
                if used == start {
                    return Some(way);
                }
                if seen.insert(used.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate with these files.
    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let dir = std::env::temp_dir().join(format!("circles-{}-{}", std::process::id(), files.len()));
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
            fs::write(path, text).expect("a file can be written");
        }
        let found = circles_below(&dir);
        fs::remove_dir_all(&dir).expect("it can be removed");
        found.expect("the files can be read")
    }

    #[test]
    fn a_circle_is_found_through_others_and_through_what_a_parent_hands_on() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a/mod.rs", "mod inner; pub use inner::Thing;"),
            ("a/inner.rs", "use crate::b::f; pub struct Thing;"),
            ("b.rs", "pub fn f() { crate::c::g() }"),
            ("c.rs", "use crate::a::Thing; pub fn g() {}"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("in its root: a uses b"), "{found:?}");
    }

    #[test]
    fn parents_children_and_tests_make_none() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod inner; pub struct Outer(inner::Inner);"),
            ("a/inner.rs", "use super::Outer; pub struct Inner;"),
            ("b.rs", "use crate::a::Outer;\n#[cfg(test)]\nmod tests { use crate::a; }"),
            ("a/tests.rs", "use crate::b::x;"),
            ("a/other.rs", "#[cfg(test)]\nmod checks;"),
            ("a/other/checks.rs", "use crate::b::x;"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }
}
