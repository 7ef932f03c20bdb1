/// How long a closed gate waits between probes: 200 ms doubled up to 10 s, spread by half so that nodes do
/// not come back together.
package struct ProbeBackoff: Sendable, Equatable {
    package static let ceilingMilliseconds: Int64 = 10_000
    private static let firstMilliseconds: Int64 = 200

    private var attempts = 0

    package init() {}

    /// - Parameter jitter: 0 ..< 1.
    package mutating func next(jitter: Double) -> Int64 {
        precondition((0..<1).contains(jitter), "jitter is a share")
        let ceiling = min(
            ProbeBackoff.ceilingMilliseconds, ProbeBackoff.firstMilliseconds << min(attempts, 10))
        attempts += 1
        return ceiling / 2 + Int64(Double(ceiling / 2) * jitter)
    }

    /// Only a gate that is back to normal begins anew: one that flaps is probed ever less often.
    package mutating func reset() { attempts = 0 }
}
