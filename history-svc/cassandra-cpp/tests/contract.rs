//! The whole suite of the backend on Cassandra, over the C++ driver.

heddle_history::cassandra_suite!(&heddle_history_cassandra_cpp::CppDriver);
