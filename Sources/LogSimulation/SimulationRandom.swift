/// Random numbers from a seed (SplitMix64): the same seed makes the same run on every machine.
package struct SimulationRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// A number in 0 ..< `bound`. The bias of the division is far below what a simulation sees.
    package mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0, "nothing lies below a bound of zero")
        return Int(next() % UInt64(bound))
    }

    package mutating func between(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + below(range.count)
    }

    /// True once in `count` times on average.
    package mutating func oneIn(_ count: Int) -> Bool { below(count) == 0 }

    package mutating func element<Element>(_ elements: [Element]) -> Element {
        elements[below(elements.count)]
    }

    /// A generator of its own, so that what it is used for does not shift the numbers of this one.
    package mutating func fork() -> SimulationRandom { SimulationRandom(seed: next()) }

    package mutating func fill(_ bytes: UnsafeMutableRawBufferPointer) {
        var position = 0
        while position + 8 <= bytes.count {
            bytes.storeBytes(of: next(), toByteOffset: position, as: UInt64.self)
            position += 8
        }
        while position < bytes.count {
            bytes[position] = UInt8(truncatingIfNeeded: next())
            position += 1
        }
    }

    package mutating func bytes(_ count: Int) -> [UInt8] {
        // All empty arrays share one storage, which is not to be written even with nothing.
        guard count > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            fill(UnsafeMutableRawBufferPointer(buffer))
            initialized = count
        }
    }
}
