//! Tests of the machines, by the number of the failure they are about.
