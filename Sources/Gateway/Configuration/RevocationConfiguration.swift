/// The key `crl` beside a `ca`: the files with the CRLs of those CAs, and whether there must be one.
package struct RevocationConfiguration: Sendable, Equatable {
    /// Absolute. None: the file beside each CA's, where it exists (`ca.crl` beside `ca.crt`).
    package var files: [String] = []
    /// Whether certificates of a CA without a current CRL are refused.
    package var isRequired = false

    package init(files: [String] = [], isRequired: Bool = false) {
        self.files = files
        self.isRequired = isRequired
    }

    static let requiredWord = "required"

    /// The CRL's file by default: `ca.crl` for `ca.crt`.
    static func fileBeside(_ authorityFile: String) -> String {
        let name = authorityFile.utf8.lastIndex(of: UInt8(ascii: "/"))
            .map { authorityFile.utf8.index(after: $0) } ?? authorityFile.startIndex
        if let point = authorityFile.utf8.lastIndex(of: UInt8(ascii: ".")), point > name {
            return "\(authorityFile[..<point]).crl"
        }
        return "\(authorityFile).crl"
    }

    /// The words of the key, as `config show` prints them.
    var words: [String] { files + (isRequired ? [Self.requiredWord] : []) }
}

extension MappingReader {
    /// `crl: FILE`, `crl: [FILE, …]`, `crl: required` or `crl: [FILE, required]`; nil where the key is not.
    mutating func revocation(
        _ key: String, _ paths: ConfigurationPaths
    ) -> RevocationConfiguration? {
        guard let words = oneOrMore(key) else { return nil }
        guard !words.isEmpty else {
            problem(
                keyPosition(key),
                "'\(key)' names a CRL file, or says 'required'; without the key the file beside the CA's is used")
            return nil
        }
        var found = RevocationConfiguration()
        for word in words {
            if word.value.utf8.elementsEqual(RevocationConfiguration.requiredWord.utf8) {
                found.isRequired = true
            } else {
                found.files.append(paths.absolute(word.value))
            }
        }
        return found
    }
}
