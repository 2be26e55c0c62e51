//! Cassandra's jars, fetched by Maven into `target/tools`, once per version.
//!
//! Invariant: the class path is written after its last jar, so half a download is never used.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::check::Failure;
use crate::command;
use crate::repo::Repo;
use crate::tools;

const VERSION: &str = "5.0.9";

/// The class path of the server, for a `java` that can run it.
pub fn class_path(repo: &Repo) -> Result<String, Failure> {
    tools::java()?;
    let dir = repo.path("target/tools/cassandra");
    let file = dir.join(format!("classpath-{VERSION}"));
    if let Some(found) = usable(&file) {
        return Ok(found);
    }
    tools::maven()?;
    fs::create_dir_all(&dir)?;
    let pom = dir.join(format!("pom-{VERSION}.xml"));
    fs::write(&pom, pom_text())?;
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-q", "-f"]).arg(&pom);
    maven
        .arg("dependency:build-classpath")
        .arg("-DincludeScope=runtime");
    maven.arg(format!("-Dmdep.outputFile={}", file.display()));
    maven.arg(format!("-Dmaven.repo.local={}", dir.join("m2").display()));
    command::run(&mut maven).map_err(|why| {
        Failure::missing(format!(
            "Cassandra could not be fetched ({why}); Maven needs its repository, this once"
        ))
    })?;
    usable(&file).ok_or_else(|| Failure::wrong("Maven ended well and left no class path"))
}

/// The class path, unless its jars were removed since.
fn usable(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let text = text.trim();
    let all_there = !text.is_empty() && text.split(':').all(|jar| Path::new(jar).is_file());
    all_there.then(|| text.to_owned())
}

fn pom_text() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>local</groupId><artifactId>cassandra-test</artifactId><version>1</version>\n\
         <dependencies><dependency><groupId>org.apache.cassandra</groupId>\n\
         <artifactId>cassandra-all</artifactId><version>{VERSION}</version></dependency>\n\
         </dependencies></project>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_path_with_a_missing_jar_is_fetched_again() {
        let dir = tempfile::tempdir().unwrap();
        let (jar, file) = (dir.path().join("a.jar"), dir.path().join("classpath"));
        assert_eq!(usable(&file), None);
        fs::write(&jar, "").unwrap();
        fs::write(&file, format!("{}\n", jar.display())).unwrap();
        assert_eq!(usable(&file), Some(jar.display().to_string()));
        fs::remove_file(&jar).unwrap();
        assert_eq!(usable(&file), None);
    }
}
