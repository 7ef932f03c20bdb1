@testable import WriteAheadLog

let checksumCases: [MicroCase] = [256, 16384].map { byteCount in
    MicroCase(name: "crc32c-\(byteCount)", operation: "CRC-32C of \(byteCount) bytes") { _ in
        let bytes = sampleBytes(byteCount)
        var sum: UInt32 = 0
        return { operations in
            bytes.withUnsafeBytes { bytes in
                for _ in 0..<operations {
                    sum = Checksum.extend(sum, bytes.baseAddress!, bytes.count)
                }
            }
            precondition(sum != 0, "the sum is used")
        }
    }
}
