//! Docker Engine: the trait the task runner needs, and its implementation.
