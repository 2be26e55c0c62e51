//! What a line says: something to the others, or a command.
//!
//! Pure. Invariant: a line that begins with `/` is never said by mistake; `//` says a slash.

/// What `/help` prints.
pub(super) const HELP: &str = "\
/list                      your conversations
/switch NAME|NUMBER        another conversation: a person, a title, or a number of /list
/create TITLE PERSON...    a new group
/add PERSON...             add people to this group
/remove PERSON             remove somebody
/title TITLE               another title
/leave                     leave this group
/who                       who is here
/history [COUNT]           what was said before
/edit NUMBER TEXT          change a message of yours
/delete NUMBER             delete a message for everyone
/react NUMBER EMOJI        react to a message
/numbers                   show the numbers of messages, or no more
/quit                      end (also Ctrl-D)
A line that begins with // says the rest with one slash.";

/// A line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Nothing,
    Say(String),
    Help,
    List,
    Switch(String),
    Create { title: String, people: Vec<String> },
    Add(Vec<String>),
    Remove(String),
    Title(String),
    Leave,
    Who,
    History(i32),
    Edit(u64, String),
    Delete(u64),
    React(u64, String),
    Numbers,
    Quit,
}

/// Understands a line; the error says how the command is written.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    let line = line.trim_end();
    let Some(command) = line.strip_prefix('/') else {
        return Ok(match line.trim().is_empty() {
            true => Command::Nothing,
            false => Command::Say(line.to_owned()),
        });
    };
    if command.starts_with('/') {
        return Ok(Command::Say(command.to_owned()));
    }
    let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
    let rest = rest.trim();
    let words = || {
        rest.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let usage = |usage: &str| Err(format!("write it as {usage}"));
    Ok(match name {
        "help" | "h" | "?" => Command::Help,
        "list" | "l" => Command::List,
        "who" | "w" => Command::Who,
        "leave" => Command::Leave,
        "numbers" => Command::Numbers,
        "quit" | "q" | "exit" => Command::Quit,
        "switch" | "s" if !rest.is_empty() => Command::Switch(rest.to_owned()),
        "switch" | "s" => return usage("/switch NAME or /switch NUMBER"),
        "create" => match words().split_first() {
            Some((title, people)) if !people.is_empty() => Command::Create {
                title: title.clone(),
                people: people.to_vec(),
            },
            _ => return usage("/create TITLE PERSON..."),
        },
        "add" if !rest.is_empty() => Command::Add(words()),
        "add" => return usage("/add PERSON..."),
        "remove" if !rest.is_empty() => Command::Remove(rest.to_owned()),
        "remove" => return usage("/remove PERSON"),
        "title" if !rest.is_empty() => Command::Title(rest.to_owned()),
        "title" => return usage("/title TITLE"),
        "history" => match rest {
            "" => Command::History(50),
            count => match count.parse() {
                Ok(count @ 1..=500) => Command::History(count),
                _ => return usage("/history COUNT, with at most 500"),
            },
        },
        "edit" => match numbered(rest) {
            Some((seq, text)) if !text.is_empty() => Command::Edit(seq, text),
            _ => return usage("/edit NUMBER TEXT (/numbers shows them)"),
        },
        "react" => match numbered(rest) {
            Some((seq, key)) if !key.is_empty() => Command::React(seq, key),
            _ => return usage("/react NUMBER EMOJI (/numbers shows them)"),
        },
        "delete" => match numbered(rest) {
            Some((seq, rest)) if rest.is_empty() => Command::Delete(seq),
            _ => return usage("/delete NUMBER (/numbers shows them)"),
        },
        other => return Err(format!("there is no /{other}; /help lists what there is")),
    })
}

fn numbered(rest: &str) -> Option<(u64, String)> {
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let seq = number.trim_start_matches('#').parse().ok()?;
    Some((seq, rest.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_said_and_commands_are_not() {
        assert_eq!(parse("hello "), Ok(Command::Say("hello".into())));
        assert_eq!(parse("  "), Ok(Command::Nothing));
        assert_eq!(parse("//etc"), Ok(Command::Say("/etc".into())));
        assert_eq!(parse("/w"), Ok(Command::Who));
        assert!(parse("/nonsense").unwrap_err().contains("/help"));
    }

    #[test]
    fn commands_take_their_words() {
        let create = Command::Create {
            title: "trip".into(),
            people: vec!["bob".into(), "carol".into()],
        };
        assert_eq!(parse("/create trip bob carol"), Ok(create));
        assert_eq!(
            parse("/edit #7 better so"),
            Ok(Command::Edit(7, "better so".into()))
        );
        assert_eq!(parse("/history"), Ok(Command::History(50)));
        for bad in [
            "/create trip",
            "/edit seven x",
            "/delete",
            "/history 501",
            "/switch",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
