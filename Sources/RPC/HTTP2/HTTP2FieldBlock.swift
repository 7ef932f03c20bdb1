internal import CNGHTTP2

/// Header fields laid out as nghttp2 takes them. nghttp2 copies them and lowers the names.
struct HTTP2FieldBlock {
    private struct Bounds {
        var start: Int
        var nameCount: Int
        var valueCount: Int
    }

    private var bytes: [UInt8] = []
    private var fields: [Bounds] = []

    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        fields.removeAll(keepingCapacity: true)
    }

    mutating func append(_ name: String, _ value: String) {
        let start = bytes.count
        bytes.append(contentsOf: name.utf8)
        let nameCount = bytes.count - start
        bytes.append(contentsOf: value.utf8)
        fields.append(
            Bounds(
                start: start, nameCount: nameCount, valueCount: bytes.count - start - nameCount))
    }

    mutating func withFields<Result>(
        _ body: (UnsafePointer<nghttp2_nv>, Int) -> Result
    ) -> Result {
        let count = fields.count
        return bytes.withUnsafeMutableBufferPointer { buffer in
            let base = buffer.baseAddress!
            return withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: count) { table in
                for (index, field) in fields.enumerated() {
                    let name = base + field.start
                    table.initializeElement(
                        at: index,
                        to: nghttp2_nv(
                            name: name, value: name + field.nameCount,
                            namelen: field.nameCount, valuelen: field.valueCount,
                            flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue)))
                }
                return body(table.baseAddress!, count)
            }
        }
    }
}
