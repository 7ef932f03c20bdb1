internal import Glibc

/// Reads files that are small by nature; a larger one is refused before it is read.
package enum SmallFile {
    package static func read(
        _ path: String, bytesMaximum: Int
    ) throws(CertificateError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw CertificateError("\(path) cannot be opened: \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        var information = stat()
        guard fstat(descriptor, &information) == 0, information.st_mode & S_IFMT == S_IFREG else {
            throw CertificateError("\(path) is not a regular file")
        }
        guard information.st_size <= bytesMaximum else {
            throw CertificateError(
                "\(path) has \(information.st_size) bytes, at most \(bytesMaximum) are read")
        }
        var bytes = [UInt8](repeating: 0, count: Int(information.st_size) + 1)
        var count = 0
        while count < bytes.count {
            let got = bytes.withUnsafeMutableBytes { buffer in
                Glibc.read(descriptor, buffer.baseAddress! + count, buffer.count - count)
            }
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else {
                throw CertificateError("\(path) cannot be read: \(String(cString: strerror(errno)))")
            }
            if got == 0 { break }
            count += got
        }
        guard count < bytes.count else {
            throw CertificateError("\(path) changed while it was read; try again")
        }
        return Array(bytes[..<count])
    }
}
