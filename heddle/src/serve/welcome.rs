//! What a newcomer does next.

use crate::keys::{Grants, Minter};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// How long the token in the grpcurl line is good for, in seconds.
const TOKEN_TTL_S: u64 = 24 * 3600;

/// What the server has to say when it is ready.
pub(super) struct Welcome<'a> {
    pub(super) address: SocketAddr,
    pub(super) data: &'a Path,
    pub(super) secure: bool,
    /// Tokens are checked with the data directory's own key.
    pub(super) own_key: bool,
}

impl Welcome<'_> {
    pub(super) fn text(&self) -> String {
        let data = self.data.display();
        let mut text = String::new();
        let _infallible = writeln!(
            text,
            "Heddle is ready on {}://{}\nEverything is kept in {data}\n",
            if self.secure { "https" } else { "http" },
            self.address,
        );
        match self.token() {
            Some(token) => text.push_str(&self.next_steps(&token)),
            None => text.push_str("Sign in with tokens of your own key (gateway.auth).\n"),
        }
        text.push_str("\nCtrl-C ends it; nothing that was answered OK is lost.\n");
        text
    }

    fn next_steps(&self, token: &str) -> String {
        let (options, data) = (self.options(), self.data_option());
        let plaintext = if self.secure {
            "-insecure"
        } else {
            "-plaintext"
        };
        let address = self.reachable();
        let heddle = program();
        format!(
            "Chat, in two other terminals:\n  \
             {heddle} chat --as alice --with bob{options}\n  \
             {heddle} chat --as bob --with alice{options}\n\n\
             Call the API as alice (this token is good for a day; \
             `{heddle} token --as alice{data}` makes more):\n  \
             grpcurl {plaintext} -H \"authorization: Bearer {token}\" \\\n    \
             -d '{{\"kind\": \"CONVERSATION_KIND_DIRECT\", \"user_ids\": [\"bob\"], \
             \"client_message_id\": \"'$({heddle} id --base64)'\"}}' \\\n    \
             {address} heddle.v1.ConversationService/CreateConversation\n"
        )
    }

    /// What commands on this machine need to be told.
    fn options(&self) -> String {
        let mut options = self.data_option();
        let address = self.reachable();
        if self.secure {
            options.push_str(&format!(" --target https://{address} --ca CA.pem"));
        } else if self.address.port() != 7447 {
            options.push_str(&format!(" --target http://{address}"));
        }
        options
    }

    fn data_option(&self) -> String {
        match self.data == crate::paths::default_data_dir() {
            true => String::new(),
            false => format!(" --data {}", self.data.display()),
        }
    }

    fn reachable(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        address
    }

    fn token(&self) -> Option<String> {
        let minter = self.own_key.then(|| Minter::open(self.data).ok())??;
        minter.mint("alice", TOKEN_TTL_S, Grants::default()).ok()
    }
}

/// How this program is called from here: by its name where the shell finds it, else by its path.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&called);
    let searched = std::env::var_os("PATH").unwrap_or_default();
    let is_found = std::env::split_paths(&searched).any(|place| called.parent() == Some(&place));
    let here = std::env::current_dir().unwrap_or_default();
    match called.strip_prefix(&here) {
        _ if is_found || called.components().count() <= 1 => "heddle".to_owned(),
        Ok(path) => format!("./{}", path.display()),
        Err(_) => called.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_name_what_differs_from_the_defaults() {
        let data = tempfile::tempdir().unwrap();
        crate::keys::ensure(data.path()).unwrap();
        let welcome = Welcome {
            address: "0.0.0.0:9000".parse().unwrap(),
            data: data.path(),
            secure: false,
            own_key: true,
        };
        let text = welcome.text();
        assert!(text.contains("--target http://127.0.0.1:9000"), "{text}");
        assert!(text.contains("Bearer ey"), "{text}");
        let token = format!("token --as alice --data {}`", data.path().display());
        assert!(text.contains(&token), "{text}");
    }
}
