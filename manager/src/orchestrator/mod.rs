//! Orchestrator: turns services into tasks.
