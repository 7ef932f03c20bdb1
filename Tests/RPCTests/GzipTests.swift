import Foundation
import Testing

@testable import RPC

@Suite struct GzipTests {
    @Test func deflatedContentInflatesToItself() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(state: seed)
        for count in [0, 1, 100, 65_536, 1_000_000] {
            let content = (0..<count).map { _ in UInt8.random(in: 0..<16, using: &random) }
            let packed = Gzip.deflate(content)
            #expect(try Gzip.inflate(packed, limitBytes: count) == content)
        }
    }

    @Test func limitIsExact() {
        let packed = Gzip.deflate([UInt8](repeating: 1, count: 1000))
        #expect(throws: Never.self) { try Gzip.inflate(packed, limitBytes: 1000) }
        #expect(throws: GzipError.tooLarge(limitBytes: 999)) {
            try Gzip.inflate(packed, limitBytes: 999)
        }
    }

    /// Nanoseconds that this thread has worked.
    private func clock() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// 1 GiB of zeros is about 1 MiB of gzip; made here by packing members one after another.
    @Test func bombIsCappedWhileInflating() throws {
        let member = Gzip.deflate([UInt8](repeating: 0, count: 64 << 20), level: 9)
        let bomb = (0..<16).flatMap { _ in member }
        #expect(bomb.count < 2 << 20)
        // In the time of this thread alone: others take their part of the machine.
        let began = clock()
        #expect(throws: GzipError.tooLarge(limitBytes: 12 << 20)) {
            try Gzip.inflate(bomb, limitBytes: 12 << 20)
        }
        #expect(clock() - began < 2_000_000_000)
    }

    @Test func membersAreJoined() throws {
        let packed = Gzip.deflate([1, 2]) + Gzip.deflate([3])
        #expect(try Gzip.inflate(packed, limitBytes: 10) == [1, 2, 3])
    }

    @Test func everyDamageIsRefused() {
        let packed = Gzip.deflate(Array("a fact is a fact is a fact".utf8))
        for count in 0..<packed.count {
            #expect(throws: GzipError.truncated) {
                try Gzip.inflate(Array(packed[..<count]), limitBytes: 1000)
            }
        }
        #expect(throws: GzipError.malformed) {
            try Gzip.inflate(packed + [0, 0, 0], limitBytes: 1000)
        }
        #expect(throws: GzipError.malformed) {
            try Gzip.inflate([0x7B, 0x7D, 0, 0, 0, 0, 0, 0, 0, 0], limitBytes: 1000)
        }
        var wrong = packed
        wrong[packed.count - 6] ^= 1
        #expect(throws: GzipError.malformed) { try Gzip.inflate(wrong, limitBytes: 1000) }
    }
}

private struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
