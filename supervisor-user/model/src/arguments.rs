//! Parsers for numbers on the command line. Their errors show the given text and an example, because the text of the
//! standard library, "invalid digit found in string", does not help. clap adds the name of the option.

/// The pid of a process on the host.
///
/// # Errors
///
/// If the text is no pid.
pub fn pid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no pid, such as 1234"))
}

/// The inode number of a PID namespace.
///
/// # Errors
///
/// If the text is no number.
pub fn pid_namespace(text: &str) -> Result<u32, String> {
    // `readlink` prints the number in brackets, and people paste this output.
    let number = text.strip_prefix("pid:[").and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    number.parse().map_err(|_| {
        format!("`{text}` is no inode number, such as 4026532177 (readlink /proc/PID/ns/pid prints it)")
    })
}

/// A count.
///
/// # Errors
///
/// If the text is no number.
pub fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number, such as 10"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_what_was_given_and_an_example() {
        assert_eq!(pid("12"), Ok(12));
        for text in ["foo", "-1", "99999999999", ""] {
            let error = pid(text).expect_err("it is no pid");
            assert_eq!(error, format!("`{text}` is no pid, such as 1234"));
        }
        assert_eq!(count("10"), Ok(10));
        assert!(count("many").is_err_and(|it| it.contains("`many`") && it.contains("10")));
    }

    #[test]
    fn a_namespace_can_be_pasted_from_readlink() {
        assert_eq!(pid_namespace("4026532177"), Ok(4_026_532_177));
        assert_eq!(pid_namespace("pid:[4026532177]"), Ok(4_026_532_177));
        assert!(pid_namespace("net:[1]").is_err_and(|it| it.contains("readlink")));
    }
}
