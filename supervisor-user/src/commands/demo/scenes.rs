//! One table: how the demo makes each family happen, and what the tool must report about it.

use anyhow::{Result, ensure};
use supervisor_lab::{ACTOR, program};
use supervisor_model::{family::Family, words::wrap};
use supervisor_render::table::{Gives, table};

use crate::console::{colour, columns, print};

/// The columns that the list needs as a table.
const WIDE: usize = 140;

/// How the demo makes a family happen.
pub(super) struct Scene {
    pub(super) family: Family,
    /// What the demo does, in one sentence.
    pub(super) does: &'static str,
    /// What ends the scene, in one sentence.
    pub(super) ends: &'static str,
    /// The part that this program plays, with its arguments. An `@` before a name stands for the path under which this
    /// program plays parts with that name. If the list is empty, the scene runs in a container.
    pub(super) part: &'static [&'static str],
    /// The fact by which the part reports the process of the scene, and the word in it that holds the pid.
    pub(super) fact: (&'static str, &'static str),
    pub(super) reported: Reported,
    /// Texts that the report must contain. If empty, it must contain the family.
    pub(super) names: &'static [&'static str],
    /// The scene needs any one of these programs. If empty, it needs none.
    needs: &'static [&'static str],
}

/// What the tool reports about a scene.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reported {
    /// `watch` reports that a finding opens and closes. The part must reap its process.
    OfReaper,
    /// The same, for a process with the part's name.
    OfName,
    /// The same, for the part's PID namespace.
    Blocked,
    /// The same as [`Self::OfReaper`], but the zombie goes away by itself.
    Late,
    /// `watch` reports nothing, but `explain` does.
    Explained,
    /// The tool reports nothing.
    Nothing,
}

impl Scene {
    /// The programs that this machine lacks for the scene.
    fn lacks(&self) -> Option<String> {
        let is_here = self.needs.is_empty() || self.needs.iter().any(|name| program(name).is_some());
        (!is_here).then(|| format!("needs {}", self.needs.join(" or ")))
    }
}

/// The usual scene: a process does not reap until the demo tells it to.
const USUAL: Scene = Scene {
    family: Family::F1,
    does: "",
    ends: "Told to, its parent waits for it",
    part: &[],
    fact: ("zombie", "pid"),
    reported: Reported::OfReaper,
    names: &[],
    needs: &[],
};

const SCENES: [Scene; 24] = [
    Scene {
        family: Family::F1,
        does: "A subreaper adopts an orphan, and waits only for what it started itself",
        part: &["adopts"],
        ..USUAL
    },
    Scene {
        family: Family::F2,
        does: "PID 1 of a PID namespace adopts an orphan, and waits only for its own child",
        ends: "PID 1 is killed, and its namespace ends with it",
        part: &["pid1-adopts", "never-waits"],
        reported: Reported::OfName,
        ..USUAL
    },
    Scene {
        family: Family::F3,
        does: "What runc or crun executes in a container leaves a child to PID 1, which never waits",
        ends: "The container is removed, and its PID namespace ends with it",
        needs: &["runc", "crun"],
        ..USUAL
    },
    Scene {
        family: Family::F4,
        does: "A process starts a child, which exits, and never waits for it",
        part: &["never-wait", "1"],
        ..USUAL
    },
    Scene {
        family: Family::F5,
        does: "An orphan passes by tini, which is neither PID 1 nor a subreaper, to PID 1, which never waits",
        ends: "PID 1 is killed, and its namespace ends with it",
        part: &["init-not-pid1", "tini", "--", "@demo-f5", ACTOR, "orphan-maker", "stays"],
        reported: Reported::OfName,
        needs: &["tini"],
        ..USUAL
    },
    Scene {
        family: Family::F6,
        does: "A command of runc, played by our own program of that name, exits and is not waited for",
        part: &["spawns", "@runc", ACTOR, "exits"],
        ..USUAL
    },
    Scene {
        family: Family::F7,
        does: "A conmon, played by our own program of that name, exits and is not waited for",
        part: &["spawns", "@conmon", ACTOR, "exits"],
        ..USUAL
    },
    Scene {
        family: Family::F8,
        does: "PID 1 of a PID namespace is killed, and a zombie in it has its parent outside",
        ends: "Told to, that parent waits for the zombie",
        part: &["held-init"],
        fact: ("held", "init"),
        reported: Reported::Blocked,
        ..USUAL
    },
    Scene {
        family: Family::F9,
        does: "The first thread of a process ends, and another lives: no finding, but `explain` tells",
        ends: "The other thread ends, and the parent reaps the process",
        part: &["leader-exits"],
        fact: ("child", "pid"),
        reported: Reported::Explained,
        ..USUAL
    },
    Scene {
        family: Family::F10,
        does: "A traced process is killed, and its tracer does not wait; its parent would",
        ends: "The tracer is killed, and the parent reaps at once",
        part: &["traced", "leader"],
        reported: Reported::OfName,
        ..USUAL
    },
    Scene {
        family: Family::F11,
        does: "A parent is stopped by SIGSTOP, and its child is killed (state D is not made on purpose)",
        ends: "SIGCONT to the parent, and it reaps at once",
        part: &["parent-stopped"],
        reported: Reported::OfName,
        ..USUAL
    },
    Scene {
        family: Family::F12,
        does: "PID 1 of a PID namespace hangs in its exit, as for F8: no finding as F12, but `explain` tells",
        ends: "Told to, the parent of the zombie that held it waits",
        part: &["held-init"],
        fact: ("held", "init"),
        reported: Reported::Explained,
        ..USUAL
    },
    Scene {
        family: Family::F13,
        does: "Children of a process that ignores SIGCHLD exit: no zombie, and nothing is said",
        ends: "The process ends",
        part: &["ignored"],
        fact: ("child", "pid"),
        reported: Reported::Nothing,
        ..USUAL
    },
    Scene {
        family: Family::F14,
        does: "A child is cloned with no exit signal, and its parent's plain waits get ECHILD",
        ends: "Told to, its parent waits with __WALL",
        part: &["exit-signal", "0"],
        ..USUAL
    },
    Scene {
        family: Family::F15,
        does: "A parent looks at its child's exit with WNOWAIT, and leaves it at that",
        ends: "Told to, its parent waits without WNOWAIT",
        part: &["peek"],
        ..USUAL
    },
    Scene {
        family: Family::F16,
        does: "Part of F2: no finding of its own, but advice in that of F2",
        ends: "PID 1 is killed, and its namespace ends with it",
        part: &["pid1-adopts", "never-waits"],
        reported: Reported::OfName,
        names: &["[F2, ", "(F16)"],
        ..USUAL
    },
    Scene {
        family: Family::F17,
        does: "Two children exit while SIGCHLD is blocked, and their parent waits once for the one signal",
        ends: "Told to, the parent waits once more",
        part: &["coalesced", "2"],
        ..USUAL
    },
    Scene {
        family: Family::F18,
        does: "A parent waits for all that have exited, once in three seconds",
        ends: "Nobody has to tell it: its next round is due",
        part: &["slow-reaper", "3000", "2"],
        reported: Reported::Late,
        ..USUAL
    },
    Scene {
        family: Family::F19,
        does: "A parent reads its child's output to the end, and a process in the background holds the pipe open",
        ends: "That process ends, and the parent reaps at once",
        part: &["reads-to-end"],
        reported: Reported::OfName,
        ..USUAL
    },
    Scene {
        family: Family::F20,
        does: "A parent waits for its first child, which runs on, and its second child has exited",
        ends: "The first child is killed, and the parent reaps both",
        part: &["waits-in-order"],
        reported: Reported::OfName,
        ..USUAL
    },
    Scene {
        family: Family::F21,
        does: "A parent sleeps until SIGCHLD comes, and has inherited a mask that blocks it",
        ends: "The parent is killed, and its own parent reaps the zombie",
        part: &["blocked-mask"],
        reported: Reported::OfName,
        ..USUAL
    },
    Scene {
        family: Family::F22,
        does: "A parent reaps in its SIGCHLD handler, until the handler is replaced",
        ends: "Told to, the parent waits for its child",
        part: &["replaced-handler"],
        ..USUAL
    },
    Scene {
        family: Family::F23,
        does: "A parent executes another program while its child runs, and that knows of no child",
        ends: "The parent is killed, and its own parent reaps the zombie",
        part: &["replaced-image", "@demo-f23", ACTOR, "sleeper"],
        reported: Reported::OfName,
        ..USUAL
    },
    Scene {
        family: Family::F24,
        does: "A parent computes, with SIGCHLD blocked, and its child has exited",
        ends: "The parent is done, and reaps its child",
        part: &["computes"],
        reported: Reported::OfName,
        ..USUAL
    },
];

/// The scene of a family. It is an error if this machine cannot play it.
pub(super) fn of(family: Family) -> Result<&'static Scene> {
    let scene = &SCENES[family as usize];
    let lacks = scene.lacks();
    ensure!(lacks.is_none(), "{family} cannot be shown here: it {}", lacks.unwrap_or_default());
    Ok(scene)
}

/// Prints all scenes.
pub(super) fn list() -> Result<()> {
    let mut out = String::new();
    if let Some(columns) = columns().filter(|columns| *columns < WIDE) {
        narrow_list(&mut out, columns);
    } else {
        let rows = SCENES.iter().map(|scene| {
            let here = scene.lacks().unwrap_or_else(|| "yes".to_owned());
            [scene.family.id().to_owned(), here, scene.family.title().to_owned(), scene.does.to_owned()]
        });
        let header = ["FAMILY", "HERE", "TITLE", "WHAT IS DONE"].map(|name| (name, Gives::Nothing));
        table(&mut out, &header, rows, None, colour());
    }
    print(&out)
}

/// The same list for a narrow terminal: the parts of a scene stand below each other.
fn narrow_list(out: &mut String, columns: usize) {
    for scene in &SCENES {
        let here = scene.lacks().map(|lacks| format!(" (not here: it {lacks})")).unwrap_or_default();
        let family = format!("{:<5}", scene.family.id());
        wrap(out, &format!("{}{here}", scene.family.title()), &family, "     ", columns);
        wrap(out, scene.does, "     ", "     ", columns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_list_fits() {
        let mut list = String::new();
        narrow_list(&mut list, 80);
        assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
        assert!(list.starts_with("F1   A monitor does not reap what it adopts\n     A subreaper"), "{list}");
    }

    #[test]
    fn every_family_has_its_scene() {
        assert_eq!(SCENES.each_ref().map(|scene| scene.family), Family::ALL);
    }
}
