internal import Glibc

/// Turns the paths of a configuration into absolute ones.
struct ConfigurationPaths {
    /// The configuration directory without symbolic links, so that `..` means what it says.
    let directory: String

    init(directory: String) {
        if let real = realpath(directory, nil) {
            self.directory = String(cString: real)
            free(real)
        } else {
            self.directory = directory
        }
    }

    func absolute(_ path: String) -> String {
        if path.utf8.first == UInt8(ascii: "/") { return path }
        var base = directory
        var rest = Substring(path)
        while true {
            if rest.utf8.starts(with: "./".utf8) {
                rest = rest.dropFirst(2)
            } else if rest.utf8.starts(with: "../".utf8) {
                rest = rest.dropFirst(3)
                base = Self.parent(base)
            } else {
                break
            }
        }
        if rest.isEmpty || rest.utf8.elementsEqual(".".utf8) { return base }
        if rest.utf8.elementsEqual("..".utf8) { return Self.parent(base) }
        return base.utf8.elementsEqual("/".utf8) ? "/\(rest)" : "\(base)/\(rest)"
    }

    static func parent(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// The directory that `init --root` was given for this configuration directory.
    var root: String {
        directory.split(separator: "/").last?.utf8.elementsEqual("config".utf8) == true
            ? Self.parent(directory) : directory
    }
}
