//! Control: what an API call may do, and how it reaches the leader.
