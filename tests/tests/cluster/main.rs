//! A cluster of three servers with three copies of everything: behind `make cluster`, because it takes minutes.

mod doctor;
mod replicas;
mod secured_studio;
mod shards;

type TestResult = Result<(), Box<dyn std::error::Error>>;
