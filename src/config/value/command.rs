//! A command line is split into words as a shell would do it, but there is no shell: what only a shell could understand is
//! refused instead of being handed to a program that does not expect it.

use super::Complaint;

/// Words of one command line, and characters of it.
const WORDS_MAX: usize = 1_024;

/// Program and arguments of a command line.
pub(crate) fn split(text: &str) -> Result<Vec<String>, Complaint> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => single_quoted(&mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err(unfinished("the backslash at the end quotes nothing")),
            },
            '|' | '&' | ';' | '<' | '>' | '`' | '$' | '\n' => return Err(needs_shell(c, text)),
            '\0' => return Err(Complaint::value("a command line without zero bytes")),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    check(words)
}

/// Program and arguments of a command line as they are run; `None` = it is none that can be run.
pub fn command_words(text: &str) -> Option<Vec<String>> {
    split(text).ok()
}

/// The rule for words however they were written.
pub(crate) fn check(words: Vec<String>) -> Result<Vec<String>, Complaint> {
    match words.first() {
        None => return Err(Complaint::value("a command line with a program")),
        Some(program) if program.is_empty() => {
            return Err(Complaint::value("a command line with a program"));
        }
        Some(program) if program.contains('/') && !program.starts_with('/') => {
            return Err(Complaint::value("a program by its name or absolute path")
                .hint("the daemon has no directory of its own to begin from; write the path from `/` on"));
        }
        Some(_) => {}
    }
    if words.len() > WORDS_MAX {
        return Err(Complaint::value(format!("a command line of at most {WORDS_MAX} words")));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(Complaint::value("a command line without zero bytes"));
    }
    Ok(words)
}

fn single_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), Complaint> {
    for c in chars {
        match c {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
    Err(unfinished("a ' is opened and not closed"))
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), Complaint> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match chars.next() {
                Some(next @ ('"' | '\\')) => word.push(next),
                Some(next) => word.extend(['\\', next]),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err(unfinished("a \" is opened and not closed"))
}

fn unfinished(hint: &str) -> Complaint {
    Complaint::value("a complete command line").hint(hint)
}

fn needs_shell(c: char, text: &str) -> Complaint {
    let script = text.replace('\'', "'\\''");
    let hint = if c == '\n' {
        "no shell is involved, and a command is one line".to_owned()
    } else {
        format!(
            "no shell is involved: to mean the character, quote it; to have it understood, write [\"sh\", \"-c\", \"{}\"]",
            script.replace('"', "\\\"")
        )
    };
    Complaint::value(format!("a command line without an unquoted `{}`", c.escape_default())).hint(hint)
}
