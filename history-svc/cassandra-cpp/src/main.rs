//! history-svc-cassandra-cpp: history-svc with the C++ driver below its store on Cassandra.

use std::process::ExitCode;

use heddle_history_cassandra_cpp::CppDriver;

fn main() -> ExitCode {
    heddle_kit::run_verbs(
        "history-svc-cassandra-cpp",
        heddle_history::VERBS,
        |verb, context| heddle_history::perform_over(&CppDriver, verb, context),
    )
}
