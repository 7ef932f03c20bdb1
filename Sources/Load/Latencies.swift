internal import Histogram

/// Latencies, kept as an HDR histogram of nanoseconds with three significant digits: memory does not grow
/// with their number.
package struct Latencies: Sendable {
    /// What is longer counts as this.
    package static let maximumNanoseconds: UInt64 = 3_600_000_000_000

    private var histogram = Histogram<UInt64>(
        lowestDiscernibleValue: 1_000, highestTrackableValue: Self.maximumNanoseconds,
        numberOfSignificantValueDigits: .three)
    private var largest: UInt64 = 0

    package init() {}

    package var count: Int { Int(histogram.totalCount) }

    package mutating func record(nanoseconds: UInt64, count: Int = 1) {
        guard count > 0 else { return }
        let value = min(nanoseconds, Self.maximumNanoseconds)
        largest = max(largest, value)
        let isTracked = histogram.record(value, count: UInt64(count))
        precondition(isTracked, "the value is within the histogram's range")
    }

    /// In microseconds; nil without a sample.
    package func percentile(_ percent: Double) -> Double? {
        guard count > 0 else { return nil }
        return Double(min(histogram.valueAtPercentile(percent), largest)) / 1_000
    }

    package var maximumMicroseconds: Double? { count > 0 ? Double(largest) / 1_000 : nil }
}
