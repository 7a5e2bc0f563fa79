//! Scheduler: places tasks on nodes.
