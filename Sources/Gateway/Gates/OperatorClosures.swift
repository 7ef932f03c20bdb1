internal import Facts
internal import Glibc
internal import RPC
internal import SwiftProtobuf

/// The gates that the operator closed, kept over a restart in one small file that is replaced as a whole.
/// It belongs to the node and not to one of its logs: a peer may have several, or none any more.
struct OperatorClosures: Sendable {
    static let fileName = "gates.json"
    private static let bytesMaximum = 1 << 20

    let path: String

    init(dataDirectory: String) {
        path = "\(dataDirectory)/\(OperatorClosures.fileName)"
    }

    /// What the file says; nothing where there is none. Blocks.
    /// - Throws: a sentence when it cannot be read: a gate that was closed must not open by that.
    func load() throws(NodeError) -> [Bsfg_Admin_V1_OperatorClosure] {
        guard access(path, F_OK) == 0 else { return [] }
        do {
            let bytes = try SmallFile.read(path, bytesMaximum: OperatorClosures.bytesMaximum)
            return try Bsfg_Admin_V1_OperatorClosures(jsonUTF8Bytes: bytes).closures
        } catch {
            throw NodeError(
                "\(path), which says which gates the operator closed, cannot be read; correct it, or "
                    + "remove it to open them all (\(error))")
        }
    }

    /// Durable when it returns. Blocks.
    func store(_ closures: [Bsfg_Admin_V1_OperatorClosure]) throws(NodeError) {
        var file = Bsfg_Admin_V1_OperatorClosures()
        file.closures = closures.sorted { $0.peer < $1.peer }
        let bytes: [UInt8]
        do {
            bytes = try file.jsonUTF8Bytes()
        } catch {
            preconditionFailure("our own file cannot be encoded: \(error)")
        }
        do throws(CertificateError) {
            // The node's, also where root's command closes them.
            try CertificateFiles.write(bytes, to: path, mode: 0o600, force: true)
        } catch {
            throw NodeError("which gates are closed cannot be kept: \(error.sentence)")
        }
    }
}
