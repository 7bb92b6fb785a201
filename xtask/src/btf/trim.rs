//! Trims a kernel's BTF to the types from which the offsets of `supervisor-ebpf/src/offsets.rs` are resolved.
//!
//! The remaining types keep their sizes and the offsets of their members. The code removes members and enumerators that
//! no offset needs, `const` and similar qualifiers, and the targets of pointers. A pointer to a function keeps the
//! number of its parameters. All types with a listed name stay: the BTF of Debian's 5.10 has a forward declaration
//! beside `struct pt_regs`. Types that a kernel does not have are ignored, because a recording of an old kernel is made
//! to show exactly that.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use btfparse::{Integer32Value, Member as Found, Offset, Type as _, TypeInformation, TypeVariant};

use super::writer::{Member, Writer};
use supervisor_ebpf::Helper;

/// One entry of the list: a type, and its part that must stay.
pub(crate) struct Entry {
    pub(crate) type_name: &'static str,
    pub(crate) stays: Stays,
}

/// The part of a type that must stay.
#[derive(Clone, Copy)]
pub(crate) enum Stays {
    /// The size of the type, or the target of a pointer.
    Itself,
    /// Members, by paths with `|` between alternatives.
    Members(&'static str),
    /// An enumerator.
    Enumerator(&'static str),
}

macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident: $kind:ident $type_name:literal $member:literal, $need:ident;)*) => {
        /// The whole list.
        pub(crate) const ENTRIES: &[Entry] = &[$(Entry {
            type_name: $type_name,
            stays: entries!(@$kind $member),
        }),*];
    };
    (@field $member:literal) => { Stays::Members($member) };
    (@bit $member:literal) => { Stays::Members($member) };
    (@enumerator $member:literal) => { Stays::Enumerator($member) };
    (@$other:ident $member:literal) => { Stays::Itself };
}

supervisor_ebpf::for_each_offset!(entries);

/// The BTF of the types in the list and of the enumerators of these helpers, and the entries that the kernel does not
/// have.
pub(crate) fn trim(
    types: &TypeInformation,
    entries: &[Entry],
    helpers: &[Helper],
) -> Result<(Vec<u8>, Vec<String>)> {
    let mut trimmer = Trimmer {
        types,
        kept: BTreeSet::new(),
        enumerators: helpers.iter().map(|helper| format!("BPF_FUNC_{}", helper.name)).collect(),
        ids: BTreeMap::new(),
        writer: Writer::default(),
    };
    let mut wanted = trimmer.named("bpf_func_id");
    let mut lacking = Vec::new();
    for Entry { type_name, stays } in entries {
        let ids = trimmer.named(type_name);
        let is_there = match stays {
            Stays::Itself => !ids.is_empty(),
            Stays::Members(alternatives) => {
                let ways = ids.iter().flat_map(|id| alternatives.split('|').map(move |path| (*id, path)));
                ways.filter(|(id, path)| trimmer.keep(*id, path)).count() > 0
            }
            Stays::Enumerator(name) => {
                trimmer.enumerators.insert((*name).to_owned());
                !ids.is_empty()
            }
        };
        if !is_there {
            let members = if let Stays::Members(members) = stays { members } else { "" };
            lacking.push(format!("{type_name} {members}").trim_end().to_owned());
        }
        wanted.extend(ids);
    }
    for id in wanted {
        trimmer.copy(id)?;
    }
    Ok((trimmer.writer.finish(), lacking))
}

struct Trimmer<'a> {
    types: &'a TypeInformation,
    /// Members that stay, each by its type and its index there.
    kept: BTreeSet<(u32, usize)>,
    /// Enumerators that stay.
    enumerators: BTreeSet<String>,
    /// The new id of each old id.
    ids: BTreeMap<u32, u32>,
    writer: Writer,
}

impl Trimmer<'_> {
    /// All types with this name, without variables and functions.
    fn named(&self, name: &str) -> BTreeSet<u32> {
        let is_type = |found: &TypeVariant| {
            matches!(
                found,
                TypeVariant::Struct(_) | TypeVariant::Enum(_) | TypeVariant::Typedef(_) | TypeVariant::Fwd(_)
            )
        };
        let all = self.types.get().iter();
        let types =
            all.filter(|(id, found)| is_type(found) && self.types.name_of(**id).as_deref() == Some(name));
        types.map(|(id, _)| *id).collect()
    }

    /// Keeps the members on the path to this member. Returns `false` if there is no such path.
    fn keep(&mut self, id: u32, path: &str) -> bool {
        let members = match self.types.from_id(id) {
            Some(TypeVariant::Struct(it)) => it.member_list().clone(),
            Some(TypeVariant::Union(it)) => it.member_list().clone(),
            Some(TypeVariant::Typedef(it)) => return self.keep(*it.tid(), path),
            Some(TypeVariant::Const(it)) => return self.keep(*it.tid(), path),
            Some(TypeVariant::Volatile(it)) => return self.keep(*it.tid(), path),
            _ => return false,
        };
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let found = members.iter().position(|member| match member.name() {
            Some(name) => name == first && rest.is_none_or(|rest| self.keep(member.tid(), rest)),
            None => self.keep(member.tid(), path),
        });
        found.is_some_and(|index| {
            self.kept.insert((id, index));
            true
        })
    }

    /// Writes a type, and before it the types that it consists of.
    fn copy(&mut self, id: u32) -> Result<u32> {
        if id == 0 {
            return Ok(0);
        }
        if let Some(copied) = self.ids.get(&id) {
            return Ok(*copied);
        }
        let name = self.types.name_of(id).unwrap_or_default();
        let copied = match self.types.from_id(id).context("an id without a type")? {
            TypeVariant::Int(it) => {
                let encoding =
                    u32::from(*it.signed()) | u32::from(*it.char()) << 1 | u32::from(*it.boolean()) << 2;
                let encoding = encoding << 24 | (*it.offset() as u32) << 16 | *it.bits() as u32;
                self.writer.int(&name, *it.size() as u32, encoding)
            }
            TypeVariant::Fwd(_) => self.writer.forward(&name),
            TypeVariant::Typedef(it) => {
                let of = self.copy(*it.tid())?;
                self.writer.typedef(&name, of)
            }
            TypeVariant::Const(it) => self.copy(*it.tid())?,
            TypeVariant::Volatile(it) => self.copy(*it.tid())?,
            TypeVariant::Ptr(it) => self.copy_pointer(*it.tid()),
            TypeVariant::Array(it) => {
                let (element, index) = (self.copy(*it.element_tid())?, self.copy(*it.index_tid())?);
                self.writer.array(element, index, *it.element_count())
            }
            TypeVariant::Struct(it) => {
                let members = self.copy_members(id, it.member_list())?;
                self.writer.structure(&name, *it.size() as u32, &members)
            }
            TypeVariant::Union(it) => {
                let members = self.copy_members(id, it.member_list())?;
                self.writer.union(&name, *it.size() as u32, &members)
            }
            TypeVariant::Enum(it) => {
                let values = it.named_value_list().iter().map(|value| match value.value {
                    Integer32Value::Signed(number) => (value.name.clone(), number as u32),
                    Integer32Value::Unsigned(number) => (value.name.clone(), number),
                });
                let values: Vec<_> = values.filter(|(name, _)| self.enumerators.contains(name)).collect();
                self.writer.enumeration(&name, *it.size() as u32, it.header().kind_flag(), &values)
            }
            other => bail!("nothing here knows how to copy `{name}`: {other:?}"),
        };
        self.ids.insert(id, copied);
        Ok(copied)
    }

    fn copy_pointer(&mut self, to: u32) -> u32 {
        let Some(TypeVariant::FuncProto(prototype)) = self.types.from_id(to) else {
            return self.writer.pointer(0);
        };
        let parameters = vec![self.writer.pointer(0); prototype.parameter_list().len()];
        let prototype = self.writer.prototype(0, &parameters);
        self.writer.pointer(prototype)
    }

    fn copy_members(&mut self, id: u32, members: &[Found]) -> Result<Vec<Member>> {
        let mut copied = Vec::new();
        for (index, member) in members.iter().enumerate() {
            if self.kept.contains(&(id, index)) {
                let (bit, bits) = match member.offset() {
                    Offset::ByteOffset(byte) => (byte * 8, 0),
                    Offset::BitOffsetAndSize(bit, bits) => (bit, bits),
                };
                let name = member.name().unwrap_or_default();
                copied.push(Member { name, id: self.copy(member.tid())?, bit, bits });
            }
        }
        Ok(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::parse;

    fn member(name: &str, id: u32, bit: u32, bits: u32) -> Member {
        Member { name: name.to_owned(), id, bit, bits }
    }

    /// `struct task { int lost; union { struct { int pid; int flag:1; int also_lost; }; int number; };
    /// struct list *next; }`, and more types.
    fn whole() -> TypeInformation {
        let mut writer = Writer::default();
        let int = writer.int("int", 4, 0x0100_0020);
        let fields = [member("pid", int, 0, 0), member("flag", int, 37, 1), member("also_lost", int, 64, 0)];
        let inner = writer.structure("", 12, &fields);
        let outer = writer.union("", 16, &[member("", inner, 0, 0), member("number", int, 0, 0)]);
        let list = writer.structure("list", 8, &[member("lost", int, 0, 0)]);
        let pointer = writer.pointer(list);
        let fields = [member("lost", int, 0, 0), member("", outer, 64, 0), member("next", pointer, 192, 0)];
        writer.structure("task", 40, &fields);
        writer.structure("unlisted", 4, &[member("pid", int, 0, 0)]);
        let values =
            [("none", u32::MAX), ("memory", 4), ("lost", 5)].map(|(name, value)| (name.to_owned(), value));
        writer.enumeration("ids", 4, true, &values);
        writer.enumeration(
            "bpf_func_id",
            4,
            false,
            &[("BPF_FUNC_old".to_owned(), 1), ("BPF_FUNC_new".to_owned(), 2)],
        );
        let prototype = writer.prototype(0, &[pointer, int, list]);
        let function = writer.pointer(prototype);
        writer.typedef("hook", function);
        parse(&writer.finish()).unwrap()
    }

    fn trimmed(entries: &[(&'static str, Stays)]) -> (TypeInformation, Vec<String>) {
        let entries = entries.iter().map(|&(type_name, stays)| Entry { type_name, stays });
        let helpers = [Helper { name: "new", since: "9.9" }];
        let (trimmed, lacking) = trim(&whole(), &entries.collect::<Vec<_>>(), &helpers).unwrap();
        (parse(&trimmed).unwrap(), lacking)
    }

    fn values(types: &TypeInformation, name: &str) -> Vec<(String, Integer32Value)> {
        let Some(TypeVariant::Enum(found)) = types.from_id(types.id_of(name).unwrap()) else { panic!() };
        found.named_value_list().iter().map(|it| (it.name.clone(), it.value)).collect()
    }

    #[test]
    fn kept_members_keep_their_offsets_and_the_rest_is_removed() {
        let members = ["pid", "fl|flag", "next"].map(|path| ("task", Stays::Members(path)));
        let (types, lacking) = trimmed(&[&members[..], &[("list", Stays::Itself)]].concat());
        assert!(lacking.is_empty(), "{lacking:?}");
        let task = types.id_of("task").unwrap();
        let place = |path: &str| types.offset_of(task, path).ok().map(|(_, offset)| offset);
        assert_eq!(place("pid"), Some(Offset::ByteOffset(8)));
        assert_eq!(place("flag"), Some(Offset::BitOffsetAndSize(64 + 37, 1)));
        assert_eq!(place("next"), Some(Offset::ByteOffset(24)));
        for lost in ["lost", "also_lost", "number"] {
            assert_eq!(place(lost), None, "{lost}");
        }
        let size = |name: &str| types.size_of(types.id_of(name).unwrap()).unwrap();
        assert_eq!((size("task"), size("list")), (40, 8));
        assert_eq!(types.id_of("unlisted"), None);
    }

    #[test]
    fn enumerators_and_the_number_of_arguments_stay() {
        let entries = [
            ("ids", Stays::Enumerator("none")),
            ("ids", Stays::Enumerator("memory")),
            ("hook", Stays::Itself),
        ];
        let (types, _) = trimmed(&entries);
        let expected = [("none", Integer32Value::Signed(-1)), ("memory", Integer32Value::Signed(4))];
        assert_eq!(values(&types, "ids"), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(values(&types, "bpf_func_id"), [("BPF_FUNC_new".to_owned(), Integer32Value::Unsigned(2))]);
        let hook = types.pointee_tid(types.id_of("hook").unwrap()).unwrap();
        let Some(TypeVariant::FuncProto(prototype)) = types.from_id(hook) else { panic!() };
        assert_eq!(prototype.parameter_list().len(), 3);
        assert_eq!(types.id_of("list"), None, "what only an argument points to is gone");
    }

    #[test]
    fn types_and_members_that_the_kernel_lacks_are_named() {
        let lacking = |entry| trimmed(&[entry]).1;
        assert_eq!(lacking(("pid", Stays::Itself)), ["pid"]);
        assert_eq!(lacking(("task", Stays::Members("tgid|tid"))), ["task tgid|tid"]);
        assert_eq!(lacking(("task", Stays::Members("next.lost"))), ["task next.lost"]);
    }

    #[test]
    fn a_forward_declaration_stays_beside_the_struct_of_the_same_name() {
        let mut writer = Writer::default();
        let int = writer.int("int", 4, 0x0100_0020);
        writer.structure("regs", 8, &[member("ax", int, 32, 0)]);
        writer.forward("regs");
        let whole = parse(&writer.finish()).unwrap();
        let entries = [Entry { type_name: "regs", stays: Stays::Members("ax") }];
        let (trimmed, lacking) = trim(&whole, &entries, &[]).unwrap();
        assert!(lacking.is_empty(), "{lacking:?}");
        let types = parse(&trimmed).unwrap();
        let last = types.from_id(types.id_of("regs").unwrap());
        assert!(matches!(last, Some(TypeVariant::Fwd(_))), "the last of a name is found first: {last:?}");
        let is_struct = |it: &&TypeVariant| matches!(it, TypeVariant::Struct(_));
        assert_eq!(types.get().values().filter(is_struct).count(), 1);
    }
}
