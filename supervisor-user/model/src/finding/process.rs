//! A process as events name it, and how it ended.

use crate::facts::NotRead;

/// The tracer of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracer {
    /// Host pid of the tracer.
    pub pid: u32,
    /// Its name.
    pub name: Option<String>,
    /// The thread that it traces.
    pub tid: u32,
    /// Its state, if it could be read.
    pub state: Option<char>,
}

/// A process as events name it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Host pid.
    pub pid: u32,
    /// Pid in its innermost namespace.
    pub vpid: Option<u32>,
    /// OCSF Common Process ID.
    pub entity_id: Option<String>,
    /// Name.
    pub name: String,
    /// The file that it executed. If it has executed none, the file that its ancestor executed.
    pub executable: Option<String>,
    /// The first arguments of that exec, without secrets.
    pub args: Vec<String>,
    /// The number of arguments of the exec, if it is known.
    pub args_count: Option<u32>,
    /// Whether the exec had more arguments than are here.
    pub args_cut: bool,
    /// Why the arguments are not known, if they had to be read from the process's memory.
    pub args_not_read: Option<NotRead>,
    /// Start time.
    pub start_ns: Option<u64>,
    /// Real user id.
    pub uid: Option<u32>,
}

/// A decoded exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It called exit.
    Code(u8),
    /// A signal killed it.
    Signal {
        /// Its number.
        number: u8,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

impl Exit {
    /// Decodes a status as `wait(2)` gives it.
    #[must_use]
    pub fn from_wait_status(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Code((status >> 8) as u8),
            number => Self::Signal { number: number as u8, core_dumped: status & 0x80 != 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_is_decoded() {
        assert_eq!(Exit::from_wait_status(0x0100), Exit::Code(1));
        assert_eq!(Exit::from_wait_status(0xff00), Exit::Code(255));
        assert_eq!(Exit::from_wait_status(9), Exit::Signal { number: 9, core_dumped: false });
        assert_eq!(Exit::from_wait_status(0x8b), Exit::Signal { number: 11, core_dumped: true });
    }
}
