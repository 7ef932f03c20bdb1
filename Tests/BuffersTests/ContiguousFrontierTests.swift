import Testing

@testable import Buffers

@Suite struct ContiguousFrontierTests {
    @Test func `ranges agree with a set of offsets`() {
        let seed = UInt64.random(in: .min ... .max)
        print("ContiguousFrontier seed \(seed)")
        var random = SplitMix(state: seed)
        for _ in 0..<300 {
            let start = UInt64.random(in: 0...20, using: &random)
            var frontier = ContiguousFrontier(nextOffset: start)
            var confirmed = Set(0..<start)
            for _ in 0..<40 {
                let low = UInt64.random(in: 0...60, using: &random)
                let high = low + UInt64.random(in: 0...6, using: &random)
                frontier.confirm(low...high)
                confirmed.formUnion(low...high)
                var expected: UInt64 = 0
                while confirmed.contains(expected) { expected += 1 }
                #expect(frontier.nextOffset == expected, "seed \(seed)")
                let beyond = Set(frontier.ranges.flatMap { Array($0) })
                #expect(beyond == confirmed.filter { $0 > expected }, "seed \(seed)")
                for (left, right) in zip(frontier.ranges, frontier.ranges.dropFirst()) {
                    #expect(left.upperBound + 1 < right.lowerBound, "seed \(seed)")
                }
            }
        }
    }

    @Test func `memory is bounded and what is forgotten is only confirmed again`() {
        var frontier = ContiguousFrontier(nextOffset: 0)
        let count = UInt64(ContiguousFrontier.rangesMaximum)
        for index in 1...(count + 50) { frontier.confirm((index * 2)...(index * 2)) }
        #expect(frontier.ranges.count == ContiguousFrontier.rangesMaximum)
        #expect(frontier.ranges.last == (count * 2)...(count * 2))
        for index in 1...(count + 50) {
            frontier.confirm((index * 2 - 1)...(index * 2 - 1))
        }
        #expect(frontier.nextOffset == 0)
        frontier.confirm(0...0)
        #expect(frontier.nextOffset == count * 2 + 2)
    }
}

/// A generator that a printed seed repeats.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
