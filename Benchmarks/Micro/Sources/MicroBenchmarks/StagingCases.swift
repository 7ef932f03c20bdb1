@testable import WriteAheadLog

/// Appends through the commit path without threads and disk: admitted, taken, finished.
private func stagingCase(_ name: String, records recordCount: Int, keyed: Bool) -> MicroCase {
    let kind = keyed ? "keyed records" : "records"
    return MicroCase(
        name: name, operation: "a commit of \(recordCount) \(kind) of 256 bytes, without its I/O"
    ) { _ in
        let payload = sampleBytes(256)
        let batch = AppendBatch(capacityBytes: 64 * 1024)
        var pipeline = CommitPipeline(
            limits: CommitPipeline.Limits(
                payloadBytes: 1 << 20, dataBytes: 4 << 20, capacityBytes: 1 << 30),
            state: LogState(identifier: LogIdentifier(bytes: Array(0..<16)), createdMilliseconds: 1),
            nextOffset: 0, lastSequence: 0, lastTimeMilliseconds: 0)
        var number: UInt64 = 0
        return { operations in
            try payload.withUnsafeBytes { payload in
                for _ in 0..<operations {
                    batch.removeAll()
                    for _ in 0..<recordCount {
                        number += 1
                        let digest = keyed ? sampleDigest(number) : nil
                        try batch.add(key: digest, content: digest, payload: payload)
                    }
                    batch.seal()
                    let admission = pipeline.append(batch, registers: [], wallMilliseconds: 1)
                    guard case .admitted = admission else {
                        preconditionFailure("an empty pipeline admits")
                    }
                    let commit = pipeline.takeStaged()
                    let group = commit.group
                    pipeline.finished(commit)
                    group.finish(nil)
                    pipeline.recycle(group)
                }
            }
        }
    }
}

/// A digest that follows from a number, spread over all its bytes.
func sampleDigest(_ number: UInt64) -> Digest256 {
    var value = number &* 0x9E37_79B9_7F4A_7C15
    return withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { bytes in
        for word in 0..<4 {
            value ^= value >> 29
            value = value &* 0xBF58_476D_1CE4_E5B9
            bytes.storeBytes(of: value, toByteOffset: word * 8, as: UInt64.self)
        }
        return Digest256(bytes: UnsafeRawBufferPointer(bytes))
    }
}

let stagingCases = [
    stagingCase("staging-1", records: 1, keyed: false),
    stagingCase("staging-64", records: 64, keyed: false),
    stagingCase("staging-64-keys", records: 64, keyed: true),
]
