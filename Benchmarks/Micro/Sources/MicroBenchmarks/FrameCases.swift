@testable import WriteAheadLog

private let recordCount = 64
private let payloadBytes = 256
private let salt: UInt64 = 7
private let position: UInt64 = 4096

private func fill(_ batch: AppendBatch, _ payload: UnsafeRawBufferPointer) throws {
    for _ in 0..<recordCount { try batch.add(payload: payload) }
}

/// A sealed batch's blocks and the header before them, as they go to disk.
private func writeFrame(_ commit: StagedCommit, _ batch: AppendBatch) -> FrameHeader {
    commit.reset(commit.group)
    var offset: UInt64 = 0
    for number in 0..<batch.groupCount {
        let group = batch.group(number)
        commit.append(block: group, from: batch, firstOffset: offset, timeMilliseconds: 1)
        offset += UInt64(group.entryCount)
    }
    commit.closeBlock()
    var frame = FrameHeader()
    frame.bodyBytes = UInt32(commit.bodyBytes)
    frame.epoch = 1
    frame.sequence = 1
    frame.recordCount = UInt32(batch.count)
    frame.blockCount = UInt32(commit.blockCount)
    frame.bodyCRC = Checksum.extend(
        0, UnsafeRawPointer(commit.frame + FormatLimits.frameHeaderBytes), commit.bodyBytes)
    frame.write(at: commit.frame, salt: salt, position: position)
    return frame
}

let frameCases = [
    MicroCase(name: "record-encode", operation: "64 records of 256 bytes, encoded and sealed") { _ in
        let payload = sampleBytes(payloadBytes)
        let batch = AppendBatch(capacityBytes: 64 * 1024)
        return { operations in
            try payload.withUnsafeBytes { payload in
                for _ in 0..<operations {
                    batch.removeAll()
                    try fill(batch, payload)
                    batch.seal()
                }
            }
        }
    },
    MicroCase(name: "frame-encode", operation: "a frame of 64 records of 256 bytes") { _ in
        let batch = AppendBatch(capacityBytes: 64 * 1024)
        try sampleBytes(payloadBytes).withUnsafeBytes { try fill(batch, $0) }
        batch.seal()
        let commit = StagedCommit()
        return { operations in
            for _ in 0..<operations { _ = writeFrame(commit, batch) }
        }
    },
    MicroCase(name: "frame-decode", operation: "a frame of 64 records of 256 bytes") { _ in
        let batch = AppendBatch(capacityBytes: 64 * 1024)
        try sampleBytes(payloadBytes).withUnsafeBytes { try fill(batch, $0) }
        batch.seal()
        let commit = StagedCommit()
        let byteCount = writeFrame(commit, batch).frameBytes
        let decoder = BlockDecoder()
        return { operations in
            let bytes = UnsafeRawBufferPointer(start: commit.frame, count: byteCount)
            for _ in 0..<operations {
                let frame = try FrameHeader(
                    bytes, salt: salt, position: position, commitBytesMaximum: 1 << 20)
                let body = UnsafeRawBufferPointer(
                    rebasing: bytes[FormatLimits.frameHeaderBytes..<byteCount])
                precondition(Checksum.of(body) == frame.bodyCRC, "the body is as it was written")
                var records = 0
                try FrameBody.walk(frame, body, decoder) { _ in records += 1 }
                precondition(records == recordCount, "every record is read")
            }
        }
    },
]
