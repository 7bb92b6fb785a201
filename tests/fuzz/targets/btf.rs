//! The kernel's description of its types.
//!
//! It comes from the running kernel and is trusted; here it is not. The crate that parses it follows a type that contains
//! itself for ever, and multiplies the sizes of nested arrays without a check: such a file is passed over.

#![no_main]

use std::collections::HashMap;

use btfparse::{Error, ErrorKind, Readable, Result, TypeInformation, TypeVariant};
use libfuzzer_sys::{Corpus, fuzz_target};
use supervisor_collect::kernel::{KernelError, resolve};
use supervisor_ebpf::{HELPERS, Need, OFFSETS, Offset};

struct Bytes<'a>(&'a [u8]);

impl Readable for Bytes<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let from = self.0.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(from.ok_or_else(|| Error::new(ErrorKind::IOError, "the end"))?);
        Ok(())
    }
}

/// How much there is to be followed from a type.
#[derive(Clone, Copy, Default)]
struct Below {
    ways: u64,
    arrays: u32,
}

/// What the crate follows from a type, if that has an end. `known` has nothing for one that is being followed.
fn below(types: &TypeInformation, id: u32, known: &mut HashMap<u32, Option<Below>>) -> Option<Below> {
    if let Some(known) = known.get(&id) {
        return *known;
    }
    known.insert(id, None);
    let found = types.get().get(&id);
    let next: Vec<u32> = match found {
        Some(TypeVariant::Fwd(it)) => vec![*it.tid()],
        Some(TypeVariant::Typedef(it)) => vec![*it.tid()],
        Some(TypeVariant::Const(it)) => vec![*it.tid()],
        Some(TypeVariant::Volatile(it)) => vec![*it.tid()],
        Some(TypeVariant::Restrict(it)) => vec![*it.tid()],
        Some(TypeVariant::TypeTag(it)) => vec![*it.tid()],
        Some(TypeVariant::Var(it)) => vec![*it.tid()],
        Some(TypeVariant::Array(it)) => vec![*it.element_tid()],
        Some(TypeVariant::Struct(it)) => unnamed(it.member_list()),
        Some(TypeVariant::Union(it)) => unnamed(it.member_list()),
        _ => Vec::new(),
    };
    let mut all = Below::default();
    for id in next {
        let Below { ways, arrays } = below(types, id, known)?;
        all = Below { ways: all.ways.saturating_add(ways), arrays: all.arrays.max(arrays) };
    }
    all.ways = all.ways.max(1);
    all.arrays += u32::from(matches!(found, Some(TypeVariant::Array(_))));
    known.insert(id, Some(all));
    Some(all)
}

fn unnamed(members: &[btfparse::Member]) -> Vec<u32> {
    members.iter().filter(|member| member.name().is_none()).map(btfparse::Member::tid).collect()
}

fn can_be_followed(types: &TypeInformation) -> bool {
    let mut known = HashMap::new();
    types
        .get()
        .keys()
        .all(|id| below(types, *id, &mut known).is_some_and(|it| it.ways <= 1000 && it.arrays <= 1))
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let types = TypeInformation::new(&Bytes(data));
    if types.as_ref().is_ok_and(|types| !can_be_followed(types)) {
        return Corpus::Reject;
    }
    match resolve(data.to_vec()) {
        Ok(offsets) => {
            let names = OFFSETS.iter().map(|offset| offset.global);
            assert!(offsets.iter().map(|(name, _)| name).eq(names), "an offset is missing, or too much");
        }
        Err(KernelError::BadBtf(_)) => assert!(types.is_err(), "it can be read"),
        Err(KernelError::TooOld(lacking)) => {
            assert!(
                !lacking.is_empty() && lacking.iter().all(|helper| HELPERS.contains(helper)),
                "{lacking:?}"
            );
        }
        Err(KernelError::MissingType(name)) => {
            let is_asked = |offset: &Offset| offset.type_name == name && offset.need == Need::Required;
            assert!(OFFSETS.iter().any(is_asked), "{name} is not asked for");
        }
        Err(KernelError::MissingMember { type_name, member }) => {
            let is_asked = |offset: &Offset| {
                (offset.type_name, offset.member) == (type_name, member) && offset.need == Need::Required
            };
            assert!(OFFSETS.iter().any(is_asked), "{type_name}.{member} is not asked for");
        }
        Err(error) => panic!("{error}"),
    }
    Corpus::Keep
});
