//! Leaves of a kernel's BTF what the offsets of `supervisor-ebpf/src/offsets.rs` are resolved from.
//!
//! What is left is as it was: sizes, and where a member is. Left out are the members that no offset needs, `const` and the
//! like, and what pointers point to; a pointer to a function keeps the number of its parameters.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use btfparse::{Integer32Value, Member as Found, Offset, Type as _, TypeInformation, TypeVariant};

use super::writer::{Member, Writer};

/// One entry of the list, as far as it says what has to stay.
pub(crate) struct Entry {
    pub(crate) type_name: &'static str,
    /// Member paths, with `|` between alternatives, if it is an entry about a member.
    pub(crate) members: Option<&'static str>,
}

macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident: $kind:ident $type_name:literal $member:literal;)*) => {
        /// The whole list.
        pub(crate) const ENTRIES: &[Entry] = &[$(Entry {
            type_name: $type_name,
            members: entries!(@$kind $member),
        }),*];
    };
    (@field $member:literal) => { Some($member) };
    (@bit $member:literal) => { Some($member) };
    (@$other:ident $member:literal) => { None };
}

supervisor_ebpf::for_each_offset!(entries);

/// The BTF of the types in the list.
pub(crate) fn trim(types: &TypeInformation, entries: &[Entry]) -> Result<Vec<u8>> {
    let mut trimmer =
        Trimmer { types, kept: BTreeSet::new(), ids: BTreeMap::new(), writer: Writer::default() };
    let mut wanted = BTreeSet::new();
    for Entry { type_name, members } in entries {
        let id = types.id_of(type_name).with_context(|| format!("no type `{type_name}`"))?;
        wanted.insert(id);
        let Some(alternatives) = members else { continue };
        let found = alternatives.split('|').filter(|path| trimmer.keep(id, path)).count();
        if found == 0 {
            bail!("`{type_name}` has no `{alternatives}`");
        }
    }
    for id in wanted {
        trimmer.copy(id)?;
    }
    Ok(trimmer.writer.finish())
}

struct Trimmer<'a> {
    types: &'a TypeInformation,
    /// Members that stay, each by its type and its index there.
    kept: BTreeSet<(u32, usize)>,
    /// What an id has become.
    ids: BTreeMap<u32, u32>,
    writer: Writer,
}

impl Trimmer<'_> {
    /// Keeps the members on the way to this one; `false` if there is no such way.
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

    /// Writes a type, and before it what it is made of.
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
                let values: Vec<_> = values.collect();
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

    /// `struct task { int lost; union { struct { int pid; int flag:1; int also_lost; }; int number; }; struct list *next; }`,
    /// and more beside it.
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
        writer.enumeration("ids", 4, true, &[("none".to_owned(), u32::MAX), ("memory".to_owned(), 4)]);
        let prototype = writer.prototype(0, &[pointer, int, list]);
        let function = writer.pointer(prototype);
        writer.typedef("hook", function);
        parse(&writer.finish()).unwrap()
    }

    fn trimmed(entries: &[(&'static str, Option<&'static str>)]) -> Result<TypeInformation> {
        let entries = entries.iter().map(|&(type_name, members)| Entry { type_name, members });
        parse(&trim(&whole(), &entries.collect::<Vec<_>>())?)
    }

    #[test]
    fn what_is_left_is_where_it_was_and_the_rest_is_gone() {
        let entries =
            [("task", Some("pid")), ("task", Some("fl|flag")), ("task", Some("next")), ("list", None)];
        let types = trimmed(&entries).unwrap();
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
        let types = trimmed(&[("ids", None), ("hook", None)]).unwrap();
        let Some(TypeVariant::Enum(ids)) = types.from_id(types.id_of("ids").unwrap()) else { panic!() };
        let values: Vec<_> = ids.named_value_list().iter().map(|it| (it.name.as_str(), it.value)).collect();
        assert_eq!(values, [("none", Integer32Value::Signed(-1)), ("memory", Integer32Value::Signed(4))]);
        let hook = types.pointee_tid(types.id_of("hook").unwrap()).unwrap();
        let Some(TypeVariant::FuncProto(prototype)) = types.from_id(hook) else { panic!() };
        assert_eq!(prototype.parameter_list().len(), 3);
        assert_eq!(types.id_of("list"), None, "what only an argument points to is gone");
    }

    #[test]
    fn what_the_kernel_lacks_is_named() {
        let error = |entry| trimmed(&[entry]).err().unwrap().to_string();
        assert_eq!(error(("pid", None)), "no type `pid`");
        assert_eq!(error(("task", Some("tgid|tid"))), "`task` has no `tgid|tid`");
        assert_eq!(error(("task", Some("next.lost"))), "`task` has no `next.lost`");
    }
}
