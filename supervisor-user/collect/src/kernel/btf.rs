//! Resolves the structure offsets from the running kernel's BTF, before the eBPF object is loaded.

use std::fs;

use btfparse::{Offset as BtfOffset, Readable, TypeInformation, TypeVariant};
use supervisor_ebpf::{HELPERS, Helper, MISSING, Need, OFFSETS, Offset, OffsetKind};

use super::KernelError;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The value of every global of [`OFFSETS`], in the same order, and the optional fields that the kernel lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets {
    values: Vec<(&'static str, u32)>,
    missing: Vec<&'static Offset>,
}

impl Offsets {
    /// Resolves all of them from the running kernel.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoBtf`], or those of [`resolve`].
    pub fn of_running_kernel() -> Result<Self, KernelError> {
        let data = fs::read(VMLINUX).map_err(|source| KernelError::NoBtf { path: VMLINUX, source })?;
        resolve(data)
    }

    /// Global names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &u32)> {
        self.values.iter().map(|(name, value)| (*name, value))
    }

    /// The value of one global.
    #[must_use]
    pub fn get(&self, global: &str) -> Option<u32> {
        self.values.iter().find(|(name, _)| *name == global).map(|(_, value)| *value)
    }

    /// The same offsets, as if the kernel had only the required fields.
    pub(super) fn required(mut self) -> Self {
        for ((_, value), offset) in self.values.iter_mut().zip(OFFSETS) {
            if offset.need != Need::Required {
                *value = MISSING;
            }
        }
        self
    }

    /// The optional fields that this kernel lacks: the first missing field of each need.
    pub fn missing(&self) -> impl Iterator<Item = &'static Offset> {
        self.missing.iter().copied()
    }
}

/// Resolves all of [`OFFSETS`] from the contents of a BTF file.
///
/// # Errors
///
/// [`KernelError::BadBtf`], [`KernelError::TooOld`], or the first required type or member that is missing.
pub fn resolve(btf: Vec<u8>) -> Result<Offsets, KernelError> {
    let types =
        TypeInformation::new(&Bytes(btf)).map_err(|error| KernelError::BadBtf(error.message().to_owned()))?;
    let lacking = lacking_helpers(&types);
    if !lacking.is_empty() {
        return Err(KernelError::TooOld(lacking));
    }
    let mut values = Vec::with_capacity(OFFSETS.len());
    let mut missing: Vec<&Offset> = Vec::new();
    for offset in OFFSETS {
        match resolve_one(&types, offset) {
            Ok(value) => values.push((offset.global, value)),
            Err(error) if offset.need == Need::Required => return Err(error),
            Err(_) => {
                values.push((offset.global, MISSING));
                if missing.iter().all(|other| other.need != offset.need) {
                    missing.push(offset);
                }
            }
        }
    }
    // A program checks only one offset of each need, so all of them must be missing together.
    for ((_, value), offset) in values.iter_mut().zip(OFFSETS) {
        if missing.iter().any(|lost| lost.need == offset.need) {
            *value = MISSING;
        }
    }
    Ok(Offsets { values, missing })
}

/// The helpers that the programs call and this kernel does not have.
fn lacking_helpers(types: &TypeInformation) -> Vec<Helper> {
    let ids = id_of(types, "bpf_func_id", OffsetKind::Enumerator);
    let has = |helper: &Helper| {
        ids.is_some_and(|id| enumerator(types, id, &format!("BPF_FUNC_{}", helper.name)).is_some())
    };
    HELPERS.into_iter().filter(|helper| !has(helper)).collect()
}

/// A BTF file in memory.
struct Bytes(Vec<u8>);

impl Readable for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let end = usize::try_from(offset).ok().and_then(|start| {
            let end = start.checked_add(buffer.len())?;
            buffer.copy_from_slice(self.0.get(start..end)?);
            Some(end)
        });
        end.map(|_| ()).ok_or_else(|| {
            btfparse::Error::new(btfparse::ErrorKind::IOError, "the file ends in the middle of an entry")
        })
    }
}

fn resolve_one(types: &TypeInformation, offset: &Offset) -> Result<u32, KernelError> {
    let missing = || KernelError::MissingMember { type_name: offset.type_name, member: offset.member };
    let id = id_of(types, offset.type_name, offset.kind).ok_or(KernelError::MissingType(offset.type_name))?;
    match offset.kind {
        OffsetKind::Size => {
            types.size_of(id).map(|size| size as u32).map_err(|_| KernelError::MissingType(offset.type_name))
        }
        OffsetKind::Field => match member(types, id, offset.member).ok_or_else(missing)? {
            BtfOffset::ByteOffset(bytes) => Ok(bytes),
            BtfOffset::BitOffsetAndSize(..) => Err(missing()),
        },
        OffsetKind::Bit => match member(types, id, offset.member).ok_or_else(missing)? {
            BtfOffset::BitOffsetAndSize(bits, _) => Ok(bits),
            // A `bool`: its lowest bit is its first bit. `is_child_subreaper` is a `bool` since 7.2.
            BtfOffset::ByteOffset(bytes) => Ok(bytes * 8),
        },
        OffsetKind::Enumerator => Ok(enumerator(types, id, offset.member).unwrap_or(MISSING)),
        OffsetKind::Arguments => arguments(types, id).ok_or(KernelError::MissingType(offset.type_name)),
    }
}

/// The type of this name that can hold a value of this kind. Several types can have the same name: the BTF of Debian's
/// 5.10 also has a forward declaration of `struct pt_regs`.
fn id_of(types: &TypeInformation, name: &str, kind: OffsetKind) -> Option<u32> {
    let fits = |found: &TypeVariant| match kind {
        OffsetKind::Size | OffsetKind::Field | OffsetKind::Bit => matches!(found, TypeVariant::Struct(_)),
        OffsetKind::Enumerator => matches!(found, TypeVariant::Enum(_)),
        OffsetKind::Arguments => matches!(found, TypeVariant::Typedef(_)),
    };
    let id = types.id_of(name)?;
    if types.get().get(&id).is_some_and(fits) {
        return Some(id);
    }
    let same = |(id, found): (&u32, &TypeVariant)| {
        (fits(found) && types.name_of(*id).as_deref() == Some(name)).then_some(*id)
    };
    types.get().iter().find_map(same)
}

/// The offset of the first alternative that exists.
fn member(types: &TypeInformation, id: u32, alternatives: &str) -> Option<BtfOffset> {
    alternatives.split('|').find_map(|path| types.offset_of(id, path).ok()).map(|(_, offset)| offset)
}

fn enumerator(types: &TypeInformation, id: u32, name: &str) -> Option<u32> {
    let TypeVariant::Enum(found) = types.from_id(id)? else { return None };
    found.named_value_list().iter().find(|value| value.name == name).map(|value| match value.value {
        btfparse::Integer32Value::Signed(value) => value as u32,
        btfparse::Integer32Value::Unsigned(value) => value,
    })
}

/// The number of arguments of a `typedef void (*btf_trace_NAME)(void *, …)`, without the first one.
fn arguments(types: &TypeInformation, id: u32) -> Option<u32> {
    let TypeVariant::Typedef(typedef) = types.from_id(id)? else { return None };
    let TypeVariant::Ptr(pointer) = types.from_id(*typedef.tid())? else { return None };
    let TypeVariant::FuncProto(prototype) = types.from_id(*pointer.tid())? else { return None };
    (prototype.parameter_list().len() as u32).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The BTF of Debian's 5.10 has a forward declaration of `struct pt_regs` after the struct.
    #[test]
    fn a_forward_declaration_of_the_same_name_is_passed_over() {
        let btf = include_bytes!("../../../tests/btf/5.10.btf");
        let types = TypeInformation::new(&Bytes(btf.to_vec())).unwrap();
        let last = types.from_id(types.id_of("pt_regs").unwrap());
        assert!(matches!(last, Some(TypeVariant::Fwd(_))), "{last:?}");
        let offset = OFFSETS.iter().find(|offset| offset.global == "REGS_SYSCALL").unwrap();
        assert_eq!(resolve_one(&types, offset).unwrap(), 120);
    }
}
