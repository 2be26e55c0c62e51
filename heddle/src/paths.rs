//! Where things lie on a person's machine.
//!
//! The server's data directory is also where clients on the same machine keep what they must
//! remember (`clients/USER/DEVICE`) and find the key that tokens are minted with.

use std::path::{Path, PathBuf};

/// The data directory unless `--data` names another: `heddle` in the user's data home.
pub fn default_data_dir() -> PathBuf {
    let home = |rest: &str| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(rest));
    let set = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let base = set
        .filter(|path| path.is_absolute())
        .or_else(|| match cfg!(target_os = "macos") {
            true => home("Library/Application Support"),
            false => home(".local/share"),
        });
    base.map_or_else(|| PathBuf::from("heddle-data"), |base| base.join("heddle"))
}

/// What a client remembers of one user's device.
pub fn client_dir(data: &Path, user_id: &str, device_id: &str) -> PathBuf {
    data.join("clients")
        .join(file_name(user_id))
        .join(file_name(device_id))
}

/// A file name for any id: what is not plain is written as `%XX`.
fn file_name(id: &str) -> String {
    let mut name = String::new();
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ids_share_a_file_and_none_leaves_its_place() {
        assert_eq!(file_name("alice"), "alice");
        assert_eq!(file_name("../A"), "%2e%2e%2f%41");
        assert_ne!(file_name("a%41"), file_name("aA"));
    }
}
