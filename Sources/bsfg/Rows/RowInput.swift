internal import CZlib
internal import Glibc

/// Bytes of a file, inflated where it is gzip, or of standard input as they come.
final class RowInput {
    private enum Source {
        case file(gzFile)
        case descriptor(Int32)
    }

    private let source: Source
    let name: String

    /// - Parameter path: `-` is standard input.
    init(path: String) throws(RowError) {
        name = path == "-" ? "standard input" : path
        if path == "-" {
            source = .descriptor(STDIN_FILENO)
            return
        }
        // A directory opens, and fails only when it is read.
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
            throw RowError("\(path) cannot be read: it is a directory")
        }
        guard let file = gzopen(path, "rbe") else {
            throw RowError("\(path) cannot be read: \(String(cString: strerror(errno)))")
        }
        gzbuffer(file, 128 << 10)
        source = .file(file)
    }

    deinit {
        if case .file(let file) = source { gzclose(file) }
    }

    /// Up to `count` bytes more; none at the end.
    func read(_ count: Int) throws(RowError) -> [UInt8] {
        var got = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialised in
            switch source {
            case .file(let file): got = Int(gzread(file, buffer.baseAddress, UInt32(count)))
            case .descriptor(let descriptor):
                repeat {
                    got = Glibc.read(descriptor, buffer.baseAddress, count)
                } while got < 0 && errno == EINTR
            }
            initialised = max(0, got)
        }
        guard got >= 0 else { throw RowError("\(name) cannot be read: \(reason)") }
        if got == 0, isCut { throw RowError("\(name) ends in the middle; fetch it again") }
        return bytes
    }

    /// Whether a read answers within this time.
    func isReady(milliseconds: Int) -> Bool {
        guard case .descriptor(let descriptor) = source else { return true }
        var question = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&question, 1, Int32(milliseconds)) != 0
    }

    /// How many bytes of the file itself were read, for progress; nil where that is not known.
    var consumedBytes: Int? {
        guard case .file(let file) = source else { return nil }
        let offset = gzoffset(file)
        return offset >= 0 ? Int(offset) : nil
    }

    /// Whether a gzip file ended before its content did.
    private var isCut: Bool {
        guard case .file(let file) = source else { return false }
        var code: Int32 = 0
        gzerror(file, &code)
        return code == Z_BUF_ERROR
    }

    private var reason: String {
        guard case .file(let file) = source else { return String(cString: strerror(errno)) }
        var code: Int32 = 0
        guard let text = gzerror(file, &code), code != Z_ERRNO else {
            return String(cString: strerror(errno))
        }
        return String(cString: text)
    }
}

/// Why rows cannot be read or made into facts, in one sentence.
struct RowError: Error, CustomStringConvertible {
    let sentence: String
    /// The line of the one row it is about; nil where nothing more can be read.
    let line: Int?

    init(_ sentence: String, line: Int? = nil) {
        self.sentence = sentence
        self.line = line
    }

    var description: String { line.map { "line \($0): \(sentence)" } ?? sentence }
}
