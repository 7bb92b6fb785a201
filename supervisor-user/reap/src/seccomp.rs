//! Decides whether a seccomp filter allows a system call. It evaluates classic BPF as the kernel accepts it for seccomp
//! (`seccomp_check_filter()`, `kernel/seccomp.c`).

use libc::sock_filter;

const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
const SECCOMP_RET_LOG: u32 = 0x7ffc_0000;
const SECCOMP_RET_ACTION: u32 = 0xffff_0000;
/// `sizeof(struct seccomp_data)`
const DATA_LEN: usize = 64;

/// A system call as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeccompCall {
    /// `AUDIT_ARCH_…` of the thread that makes the call.
    pub(super) arch: u32,
    /// Its number.
    pub(super) number: u32,
    /// The address behind its instruction.
    pub(super) instruction: u64,
    /// Its arguments.
    pub(super) args: [u64; 6],
}

impl SeccompCall {
    /// The call as a `struct seccomp_data`.
    fn data(&self) -> [u8; DATA_LEN] {
        let mut data = [0; DATA_LEN];
        data[..4].copy_from_slice(&self.number.to_ne_bytes());
        data[4..8].copy_from_slice(&self.arch.to_ne_bytes());
        data[8..16].copy_from_slice(&self.instruction.to_ne_bytes());
        for (place, arg) in data[16..].chunks_exact_mut(8).zip(self.args) {
            place.copy_from_slice(&arg.to_ne_bytes());
        }
        data
    }
}

/// Whether a filter allows the call. A program that cannot be evaluated allows nothing.
pub(super) fn allows(filter: &[sock_filter], call: &SeccompCall) -> bool {
    let action = run(filter, &call.data()).map(|result| result & SECCOMP_RET_ACTION);
    matches!(action, Some(SECCOMP_RET_ALLOW | SECCOMP_RET_LOG))
}

/// The return value of the program. `None` if the program is invalid, or if it divides by an index register of 0 or
/// shifts by 32 or more.
fn run(filter: &[sock_filter], data: &[u8; DATA_LEN]) -> Option<u32> {
    let (mut accumulator, mut index, mut memory) = (0_u32, 0_u32, [0_u32; 16]);
    let mut at = 0_usize;
    // The loop ends, because a jump goes forward only.
    loop {
        let sock_filter { code, jt, jf, k } = *filter.get(at)?;
        at += 1;
        let operand = if code & 0x08 == 0 { k } else { index };
        match code & 0x07 {
            // BPF_LD, BPF_LDX
            class @ (0x00 | 0x01) => {
                let value = match code & 0xe0 {
                    0x00 => k,
                    0x20 => word(data, k)?,
                    0x60 => *memory.get(k as usize)?,
                    0x80 => DATA_LEN as u32,
                    _ => return None,
                };
                *(if class == 0 { &mut accumulator } else { &mut index }) = value;
            }
            0x02 => *memory.get_mut(k as usize)? = accumulator,
            0x03 => *memory.get_mut(k as usize)? = index,
            0x04 => accumulator = calculated(code & 0xf0, accumulator, operand)?,
            0x05 => {
                let is_true = match code & 0xf0 {
                    0x00 => {
                        at = at.checked_add(k as usize)?;
                        continue;
                    }
                    0x10 => accumulator == operand,
                    0x20 => accumulator > operand,
                    0x30 => accumulator >= operand,
                    0x40 => accumulator & operand != 0,
                    _ => return None,
                };
                at += usize::from(if is_true { jt } else { jf });
            }
            0x06 => return Some(if code & 0x18 == 0x10 { accumulator } else { k }),
            // BPF_MISC: TAX and TXA
            _ if code & 0x80 == 0 => index = accumulator,
            _ => accumulator = index,
        }
    }
}

fn word(data: &[u8; DATA_LEN], at: u32) -> Option<u32> {
    let bytes = data.get(at as usize..at.checked_add(4)? as usize)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn calculated(operation: u16, accumulator: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        0x00 => accumulator.wrapping_add(operand),
        0x10 => accumulator.wrapping_sub(operand),
        0x20 => accumulator.wrapping_mul(operand),
        0x30 => accumulator.checked_div(operand)?,
        0x40 => accumulator | operand,
        0x50 => accumulator & operand,
        0x60 => accumulator.checked_shl(operand)?,
        0x70 => accumulator.checked_shr(operand)?,
        0x80 => accumulator.wrapping_neg(),
        0xa0 => accumulator ^ operand,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::AUDIT_ARCH;

    const LOAD_NUMBER: sock_filter = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    const LOAD_ARCH: sock_filter = sock_filter { code: 0x20, jt: 0, jf: 0, k: 4 };

    fn equals(k: u32, jt: u8, jf: u8) -> sock_filter {
        sock_filter { code: 0x15, jt, jf, k }
    }

    fn returns(k: u32) -> sock_filter {
        sock_filter { code: 0x06, jt: 0, jf: 0, k }
    }

    fn call(number: u32) -> SeccompCall {
        SeccompCall { arch: AUDIT_ARCH, number, instruction: 0x1000, args: [7, 0, 0, 0, 0, 0] }
    }

    #[test]
    fn a_filter_allows_only_the_calls_in_its_list() {
        let filter = [
            LOAD_ARCH,
            equals(AUDIT_ARCH, 1, 0),
            returns(0),
            LOAD_NUMBER,
            equals(61, 1, 0),
            returns(0x0005_0001),
            returns(SECCOMP_RET_ALLOW),
        ];
        assert!(allows(&filter, &call(61)));
        assert!(!allows(&filter, &call(15)));
    }

    #[test]
    fn the_log_action_allows_a_call_and_other_actions_do_not() {
        assert!(allows(&[returns(SECCOMP_RET_LOG)], &call(61)));
        for action in [0x8000_0000, 0, 0x0003_0000, 0x0005_0026, 0x7fc0_0000, 0x7ff0_0000] {
            assert!(!allows(&[returns(action)], &call(61)), "{action:#x}");
        }
    }

    #[test]
    fn a_filter_can_compute_with_the_arguments_of_a_call() {
        let filter = [
            sock_filter { code: 0x20, jt: 0, jf: 0, k: 16 },
            sock_filter { code: 0x54, jt: 0, jf: 0, k: 3 },
            equals(3, 0, 1),
            returns(SECCOMP_RET_ALLOW),
            returns(0),
        ];
        assert!(allows(&filter, &call(61)), "7 & 3 is 3");
        assert!(!allows(&filter, &SeccompCall { args: [8, 0, 0, 0, 0, 0], ..call(61) }));
    }

    #[test]
    fn an_invalid_program_allows_nothing() {
        assert!(!allows(&[], &call(61)));
        assert!(!allows(&[sock_filter { code: 0x05, jt: 0, jf: 0, k: u32::MAX }], &call(61)));
        assert!(!allows(&[sock_filter { code: 0x20, jt: 0, jf: 0, k: 62 }], &call(61)));
    }
}
