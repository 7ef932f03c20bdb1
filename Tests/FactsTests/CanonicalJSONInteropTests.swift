import Facts
import Foundation
import Testing

/// The virtual environment that `make deps` makes; `BSFG_PYTHON` names another interpreter.
enum Python {
    static let path: String? = {
        let given = ProcessInfo.processInfo.environment["BSFG_PYTHON"]
        let path = given ?? Repository.root.appendingPathComponent(".venv/bin/python").path
        guard FileManager.default.isExecutableFile(atPath: path), run(path, ["-c", "import rfc8785"]).status == 0
        else {
            print("SKIPPED: no Python with rfc8785 at \(path); `make deps` installs it")
            return nil
        }
        return path
    }()

    static func run(_ path: String, _ arguments: [String]) -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        do { try process.run() } catch { return (-1, "\(error)") }
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }
}

@Suite struct CanonicalJSONInteropTests {
    /// Both readers see the same documents and must give the same bytes or both refuse.
    @Test(.enabled(if: Python.path != nil, "no Python with rfc8785"))
    func `100,000 random documents agree with rfc8785`() throws {
        let count = 100_000
        var documents = RandomDocument(.fresh())
        var lines: [UInt8] = []
        var refused = 0
        for _ in 0..<count {
            let document = documents.next()
            document.withUnsafeBytes { Base64.encode($0, into: &lines) }
            do throws(CanonicalJSONError) {
                let ours = try CanonicalJSON.canonicalise(document)
                lines += Array("\tok\t".utf8)
                ours.withUnsafeBytes { Base64.encode($0, into: &lines) }
                let again = try CanonicalJSON.canonicalise(ours)
                if again != ours {
                    Issue.record("not a fixed point: \(String(decoding: document, as: UTF8.self))")
                }
            } catch {
                refused += 1
                lines += Array("\tno\t".utf8)
            }
            lines.append(0x0A)
        }
        #expect(refused >= count / 10, "at least one document in ten has to be refused")
        let file = FileManager.default.temporaryDirectory
            .appendingPathComponent("bsfg-canonical-\(documents.generator.seed).tsv")
        try Data(lines).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let script = Repository.root.appendingPathComponent("Tests/Interop/canonical_json.py").path
        let result = Python.run(try #require(Python.path), [script, file.path])
        #expect(result.status == 0, "\(result.output)")
        #expect(result.output == "accepted \(count - refused) refused \(refused)\n")
    }

    /// Numbers alone: every bit pattern is a candidate, and Swift's shortest digits must be
    /// ECMAScript's.
    @Test func `a million doubles survive printing and reading`() throws {
        var generator = SeededGenerator.fresh()
        for _ in 0..<1_000_000 {
            let value = Double(bitPattern: generator.next())
            guard value.isFinite, value != 0 else { continue }
            let text = try CanonicalJSON.canonicalise(Array(value.description.utf8))
            if Double(String(decoding: text, as: UTF8.self)) != value {
                Issue.record("\(value) became \(String(decoding: text, as: UTF8.self))")
                return
            }
        }
    }
}
