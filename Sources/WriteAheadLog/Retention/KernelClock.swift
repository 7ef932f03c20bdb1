internal import CPlatform

/// What the kernel says of the wall clock.
enum KernelClock {
    /// Whether something (NTP, PTP) keeps the wall clock and has not lost it; false when the kernel
    /// does not say. One system call.
    static var isSynchronised: Bool { bsfg_clock_synchronised() != 0 }
}
