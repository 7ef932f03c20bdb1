import Testing

@testable import Load

@Suite struct LatenciesTests {
    @Test func `Percentiles are within a thousandth of what was recorded`() throws {
        var latencies = Latencies()
        for microseconds in 1...10_000 { latencies.record(nanoseconds: UInt64(microseconds) * 1_000) }
        for (percent, expected) in [(50.0, 5_000.0), (99, 9_900), (99.9, 9_990), (100, 10_000)] {
            let found = try #require(latencies.percentile(percent))
            #expect(abs(found - expected) <= expected / 500, "\(percent): \(found)")
        }
        #expect(latencies.maximumMicroseconds == 10_000)
        #expect(latencies.count == 10_000)
    }

    @Test func `No percentile is above the largest latency`() throws {
        var latencies = Latencies()
        latencies.record(nanoseconds: 1_234_567, count: 3)
        #expect(try #require(latencies.percentile(99)) <= 1_234.567)
        #expect(latencies.count == 3)
    }

    @Test func `Without a sample there is no percentile`() {
        #expect(Latencies().percentile(50) == nil)
        #expect(Latencies().maximumMicroseconds == nil)
    }

    @Test func `What is longer than an hour counts as an hour`() {
        var latencies = Latencies()
        latencies.record(nanoseconds: .max)
        #expect(latencies.maximumMicroseconds == 3_600_000_000)
    }
}
