// SPDX-License-Identifier: BSD-3-Clause
// The executor in an embedded interpreter, with a stand-in for owngil._worker.
#include "workers/executor.hpp"

#include "ipc/item.hpp"
#include "tests/workers/loop_world.hpp"
#include "workers/buffer_object.hpp"
#include "workers/codec.hpp"

#include <gtest/gtest.h>

#include <optional>

namespace owngil::workers {
namespace {

using ipc::Format;
using ipc::Status;
using ipc::TaskKind;

// A blob is an expression; what comes of it is called. `log` tells what was asked for.
constexpr const char* kStandIn = R"(
import _pickle, _thread, builtins, sys, types, weakref

log = []

def load_function(blob):
    text = blob.decode()
    log.append("load " + text)
    prepare = (lambda: log.append("prepare " + text)) if "prepared" in text else None
    return eval(text, globals()), prepare, "reloaded" in text

def apply_context(blob):
    log.append("apply " + blob.decode())
    if blob == b"bad":
        raise ValueError("bad context")

def load_direct(data, buffers):
    raise NotImplementedError

def dump_result(value, collector):
    return _pickle.dumps(value, 5, buffer_callback=collector)

def dump_exception(error):
    if "untellable" in str(error):
        raise RuntimeError("cannot be told")
    return f"{type(error).__name__}: {error}".encode()

def undecodable_call(error):
    return RuntimeError(f"undecodable: {type(error).__name__}")

def log_initializer_failure(error):
    log.append(f"log {error}")

def end_forked_child(error): log.append("end")

def prepared(*args): return args
def reloaded(*args): return args
def fail(*args): raise ValueError(*args)
def leave(): sys.exit(3)
def large(size): return b"x" * size
def interrupted(): _thread.interrupt_main()

class Thing:
    alive = 0
    def __init__(self, *args): Thing.alive += 1
    def __del__(self): Thing.alive -= 1
    def __reduce__(self): return (str, ("a thing",))

def count_things(*args): return Thing.alive

module = types.ModuleType("owngil._worker")
for name in ("load_function", "apply_context", "load_direct", "dump_result", "dump_exception",
             "undecodable_call", "log_initializer_failure", "end_forked_child"):
    setattr(module, name, globals()[name])
sys.modules["owngil"] = types.ModuleType("owngil")
sys.modules["owngil._worker"] = module
)";

class Interpreter : public testing::Environment {
  void SetUp() override {
    Py_InitializeEx(1);
    ASSERT_EQ(PyRun_SimpleString(kStandIn), 0);
  }
  void TearDown() override { Py_FinalizeEx(); }
};

const auto* const kInterpreter = testing::AddGlobalTestEnvironment(new Interpreter);

class ExecutorTest : public testing::Test {
 protected:
  void SetUp() override {
    run_python("log.clear()");
    std::optional<WorkerModule> module = WorkerModule::import(false);
    ASSERT_TRUE(module);
    state.buffer_type = make_buffer_type(nullptr);
    state.collector_type = make_collector_type(nullptr);
    executor.emplace(std::move(*module), world.worker(), state);
  }
  void TearDown() override {
    EXPECT_EQ(PyErr_Occurred(), nullptr);
    Py_CLEAR(state.buffer_type);
    Py_CLEAR(state.collector_type);
  }

  static void run_python(const std::string& text) {
    ASSERT_EQ(PyRun_SimpleString(text.c_str()), 0);
  }
  static Ref evaluate(const std::string& text) {
    PyObject* const globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    return Ref::steal(PyRun_String(text.c_str(), Py_eval_input, globals, globals));
  }
  static std::string repr(PyObject* object) {
    const Ref text = Ref::steal(PyObject_Repr(object));
    return text ? PyUnicode_AsUTF8(text.get()) : "no repr";
  }
  static std::string log() { return repr(evaluate("log").get()); }

  // The bytes of a call, as the binding makes them.
  static std::string tagged(const std::string& args) {
    ByteBuffer buffer;
    EXPECT_EQ(encode_call(evaluate(args).get(), nullptr, buffer), Encoded::ok);
    return text_of(buffer.bytes());
  }
  static std::string pickled(const std::string& args_and_kwargs) {
    const Ref bytes = evaluate("_pickle.dumps(" + args_and_kwargs + ", 5)");
    return {PyBytes_AS_STRING(bytes.get()),
            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get()))};
  }
  static std::string item(const std::string& payload) {
    std::byte head[ipc::kLongHead];
    const std::byte* const end =
        ipc::put_item_head(head, payload.size(), Format::tagged, Status::returned);
    return text_of(std::span(static_cast<const std::byte*>(head), end)) + payload;
  }

  void define(std::uint32_t number, const std::string& text) {
    world.send(TaskKind::define, 0, text, number, Format::blob);
  }
  void call(std::uint32_t function, const std::string& args) {
    world.send(TaskKind::call, ++last_task, tagged(args), function);
  }
  void run() {
    world.send_stop();
    EXPECT_EQ(world.run(*executor), LoopEnd::stopped);
  }
  // What the next answer says: repr of a value, or "raised" and the failure.
  std::string answer() {
    const Answer answer = world.take().value();
    return describe(answer.status, answer.format, answer.payload);
  }
  static std::string describe(Status status, Format format, const std::string& payload) {
    if (status == Status::raised) return "raised " + payload;
    if (format == Format::none) return "nothing";
    const Ref value = format == Format::tagged
                          ? Ref::steal(decode_value(bytes_of(payload), nullptr))
                          : Ref::steal(PyObject_CallFunction(
                                evaluate("_pickle.loads").get(), "y#", payload.data(),
                                static_cast<Py_ssize_t>(payload.size())));
    return repr(value.get());
  }

  LoopWorld world{std::size_t{1} << 22};
  InterpreterState state{};
  std::optional<Executor> executor;
  std::uint64_t last_task = 0;
};

TEST_F(ExecutorTest, CallsAndAnswersPlainValues) {
  define(1, "prepared");
  call(1, "(1, 'two', [3.0, None])");
  run();
  EXPECT_EQ(answer(), "(1, 'two', [3.0, None])");
}

TEST_F(ExecutorTest, TakesAndAnswersPickles) {
  define(1, "lambda *args, key: [*args, key]");
  world.send(TaskKind::call, 1, pickled("((frozenset({1}),), {'key': range(3)})"), 1,
             Format::pickle);
  world.send(TaskKind::call, 2, pickled("((bytearray(5000),), {'key': 1})"), 1, Format::pickle);
  world.send(TaskKind::call, 3, pickled("5"), 1, Format::pickle);
  run();
  EXPECT_EQ(answer(), "[frozenset({1}), range(0, 3)]");
  EXPECT_EQ(answer(), "[" + repr(evaluate("bytearray(5000)").get()) + ", 1]");
  EXPECT_EQ(answer(), "raised TypeError: a pickled call is (args, kwargs)");
}

TEST_F(ExecutorTest, WhatATaskRaisesIsItsFailureAndNoMore) {
  define(1, "fail");
  define(2, "leave");
  define(3, "interrupted");
  define(4, "prepared");
  call(1, "('because',)");
  call(2, "()");
  call(3, "()");
  call(1, "('untellable',)");
  call(4, "()");
  run();
  EXPECT_EQ(answer(), "raised ValueError: because");
  EXPECT_EQ(answer(), "raised SystemExit: 3");
  EXPECT_EQ(answer(), "raised KeyboardInterrupt: ");
  EXPECT_EQ(answer(), "raised ");
  EXPECT_EQ(answer(), "()");
}

TEST_F(ExecutorTest, ResultThatCannotBePickledFailsTheTask) {
  define(1, "lambda: (lambda: 0)");
  call(1, "()");
  run();
  EXPECT_NE(answer().find("raised "), std::string::npos);
}

TEST_F(ExecutorTest, LoadsAFunctionWhenItIsFirstNeeded) {
  define(1, "prepared");
  define(2, "reloaded");
  define(3, "1 / 0");
  call(2, "()");
  call(1, "()");
  call(1, "()");
  call(2, "()");
  call(3, "()");
  call(3, "()");
  call(1, "()");
  run();
  EXPECT_EQ(log(),
            "['load reloaded', 'load prepared', 'prepare prepared', 'load reloaded', "
            "'load 1 / 0', 'load 1 / 0', 'prepare prepared']");
}

TEST_F(ExecutorTest, FunctionThatWasNeverSentOrIsForgottenFailsTheTask) {
  define(1, "prepared");
  call(1, "()");
  world.send(TaskKind::forget, 0, {}, 1);
  call(1, "()");
  call(2, "()");
  run();
  EXPECT_EQ(answer(), "()");
  EXPECT_EQ(answer(), "raised SystemError: function number 1 was never sent to this worker");
  EXPECT_EQ(answer(), "raised SystemError: function number 2 was never sent to this worker");
}

TEST_F(ExecutorTest, NothingOfATaskIsLeftWhenItIsAnswered) {
  define(1, "Thing");
  define(2, "count_things");
  define(3, "fail");
  call(1, "()");
  call(2, "()");
  world.send(TaskKind::call, 3, pickled("((Thing,), {})"), 3, Format::pickle);
  call(2, "()");
  run();
  EXPECT_EQ(answer(), "'a thing'");
  EXPECT_EQ(answer(), "0");
  answer();
  EXPECT_EQ(answer(), "0");
}

TEST_F(ExecutorTest, EachItemOfAChunkHasItsOwnEnd) {
  define(1, "lambda x: 10 // x if x and x != 5 else {x} if x else int('x')");
  const std::string items =
      item(tagged("(1,)")) + item(tagged("(0,)")) + item(tagged("(5,)")) + item(tagged("(2,)"));
  world.send(TaskKind::chunk, 1, items, 1, Format::none, 4);
  run();
  const Answer reply = world.take().value();
  EXPECT_EQ(reply.status, Status::chunk);
  std::vector<std::string> ends;
  for (const Item& end : world.read_chain(reply.block.value(), 4).items) {
    ends.push_back(describe(end.status, end.format, end.payload));
  }
  EXPECT_EQ(ends, (std::vector<std::string>{
                      "10", "raised ValueError: invalid literal for int() with base 10: 'x'", "{5}",
                      "5"}));
}

TEST_F(ExecutorTest, AChunkWhoseFunctionCannotBeLoadedFailsAsAWhole) {
  define(1, "1 / 0");
  world.send(TaskKind::chunk, 1, item(tagged("(1,)")), 1, Format::none, 1);
  run();
  EXPECT_EQ(answer(), "raised ZeroDivisionError: division by zero");
}

TEST_F(ExecutorTest, ResultWithoutRoomIsAMemoryError) {
  define(1, "large");
  call(1, "(1 << 23,)");
  const std::string items =
      item(tagged("(1 << 20,)")) + item(tagged("(1 << 23,)")) + item(tagged("(1,)"));
  world.send(TaskKind::chunk, 2, items, 1, Format::none, 3);
  run();
  EXPECT_EQ(answer().find("raised MemoryError: no room for a result of 83886"), 0U);
  const Answer reply = world.take().value();
  const std::vector<Item> ends = world.read_chain(reply.block.value(), 3).items;
  EXPECT_EQ(ends[0].status, Status::returned);
  EXPECT_EQ(ends[1].payload.find("MemoryError: no room"), 0U);
  EXPECT_EQ(describe(ends[2].status, ends[2].format, ends[2].payload), "b'x'");
}

TEST_F(ExecutorTest, InitializerAnswersNothingOrItsFailure) {
  define(1, "Thing");
  define(2, "fail");
  world.send(TaskKind::initialize, 1, tagged("()"), 1);
  world.send(TaskKind::initialize, 2, tagged("('because',)"), 2);
  EXPECT_EQ(world.run(*executor), LoopEnd::initializer_failed);
  EXPECT_EQ(answer(), "nothing");
  EXPECT_EQ(answer(), "raised ValueError: because");
  EXPECT_EQ(log(), "['load Thing', 'load fail', 'log because']");
}

TEST_F(ExecutorTest, BytesThatAreNoCallFailTheTask) {
  define(1, "prepared");
  world.send(TaskKind::call, 1, "\x01", 1);
  world.send(TaskKind::call, 2, "junk", 1, Format::pickle);
  call(1, "()");
  run();
  EXPECT_EQ(answer(), "raised ValueError: bad tagged bytes: truncated");
  EXPECT_EQ(answer(), "raised RuntimeError: undecodable: UnpicklingError");
  EXPECT_EQ(answer(), "()");
}

}  // namespace
}  // namespace owngil::workers
