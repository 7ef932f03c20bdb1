internal import Facts

/// What the head of a streaming request says, checked.
struct StreamingHead {
    var path: String
    var query: String?
    var contentLength: UInt64

    static let methods = ["GET", "HEAD", "PUT"]

    init(_ head: HTTPRequestHead) throws(ServiceError) {
        let target = head.target.utf8
        let path = target.prefix { $0 != UInt8(ascii: "?") }
        self.path = String(decoding: path, as: UTF8.self)
        query =
            path.endIndex < target.endIndex
            ? String(decoding: target[target.index(after: path.endIndex)...], as: UTF8.self) : nil
        guard StreamingHead.methods.contains(where: { $0.utf8.elementsEqual(head.method.utf8) })
        else {
            throw ServiceError(
                .methodNotAllowed,
                "\(ConnectHead.shown(self.path)) answers GET, HEAD and PUT.",
                field: StreamingHead.methods.joined(separator: ", "))
        }
        let isUpload = head.method.utf8.elementsEqual("PUT".utf8)
        let announced = head.header("content-length")
        guard let text = announced, head.header("transfer-encoding") == nil else {
            guard !isUpload else { throw ServiceError(.lengthRequired) }
            guard head.header("transfer-encoding") == nil else {
                throw ServiceError(.malformedRequest, "\(head.method) takes no body.")
            }
            contentLength = 0
            return
        }
        guard text.utf8.count <= 18,
            text.utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }),
            let length = UInt64(text)
        else { throw ServiceError(.malformedRequest, "Content-Length is no number of bytes.") }
        guard isUpload || length == 0 else {
            throw ServiceError(.malformedRequest, "\(head.method) takes no body.")
        }
        if let coding = head.header("content-encoding"), coding.lowercased() != "identity" {
            throw ServiceError(
                .unsupportedEncoding,
                "An artifact is stored as it comes: send its bytes without Content-Encoding.")
        }
        contentLength = length
    }
}
