// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/output_pipes.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace owngil::runtime {
namespace {

constexpr std::uint64_t kKey = 7;

class OutputPipesTest : public testing::Test {
 protected:
  static void write(const ipc::UniqueFd& end, std::string_view text) {
    ASSERT_EQ(::write(end.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  OutputPipes::Got read(OutputPipes::Ready from, std::string& text) {
    text.resize(OutputPipes::kPipeBytes);
    std::size_t size = 0;
    const OutputPipes::Got got =
        pipes_.read(from, std::as_writable_bytes(std::span(text.data(), text.size())), size);
    text.resize(size);
    return got;
  }

  OutputPipes pipes_;
  std::string text_;
};

TEST_F(OutputPipesTest, ReadsWhatWasWrittenAndThenNothing) {
  const auto ends = pipes_.open(kKey);
  write(ends[OutputPipes::kErr], "word");
  EXPECT_EQ(read({kKey, OutputPipes::kErr}, text_), OutputPipes::Got::bytes);
  EXPECT_EQ(text_, "word");
  EXPECT_EQ(read({kKey, OutputPipes::kErr}, text_), OutputPipes::Got::nothing);
  EXPECT_EQ(read({kKey, OutputPipes::kOut}, text_), OutputPipes::Got::nothing);
}

TEST_F(OutputPipesTest, WaitNamesTheWorkerAndTheStream) {
  const auto quiet = pipes_.open(kKey);
  const auto ends = pipes_.open(kKey + 1);
  write(ends[OutputPipes::kLog], "record");
  std::vector<OutputPipes::Ready> ready;
  ASSERT_TRUE(pipes_.wait(ready));
  ASSERT_EQ(ready.size(), 1U);
  EXPECT_EQ(ready[0].key, kKey + 1);
  EXPECT_EQ(ready[0].stream, OutputPipes::kLog);
}

TEST_F(OutputPipesTest, MessagesOfALogStayApart) {
  const auto ends = pipes_.open(kKey);
  write(ends[OutputPipes::kLog], "one");
  write(ends[OutputPipes::kLog], "two");
  EXPECT_EQ(read({kKey, OutputPipes::kLog}, text_), OutputPipes::Got::bytes);
  EXPECT_EQ(text_, "one");
  EXPECT_EQ(read({kKey, OutputPipes::kLog}, text_), OutputPipes::Got::bytes);
  EXPECT_EQ(text_, "two");
}

TEST_F(OutputPipesTest, TheRestIsReadAfterTheWriterIsGoneAndThenTheStreamEnds) {
  {
    const auto ends = pipes_.open(kKey);
    write(ends[OutputPipes::kOut], "last words");
  }
  EXPECT_EQ(read({kKey, OutputPipes::kOut}, text_), OutputPipes::Got::bytes);
  EXPECT_EQ(text_, "last words");
  EXPECT_EQ(read({kKey, OutputPipes::kOut}, text_), OutputPipes::Got::end);
}

TEST_F(OutputPipesTest, AWorkerIsForgottenWhenAllItsStreamsHaveEnded) {
  pipes_.open(kKey);
  EXPECT_EQ(pipes_.keys(), std::vector<std::uint64_t>{kKey});
  for (const auto stream : {OutputPipes::kOut, OutputPipes::kErr, OutputPipes::kLog}) {
    EXPECT_TRUE(pipes_.is_open(kKey));
    EXPECT_EQ(read({kKey, stream}, text_), OutputPipes::Got::end);
  }
  EXPECT_FALSE(pipes_.is_open(kKey));
  EXPECT_TRUE(pipes_.keys().empty());
}

TEST_F(OutputPipesTest, AForgottenWorkerReadsAsEnded) {
  const auto ends = pipes_.open(kKey);
  pipes_.forget(kKey);
  EXPECT_TRUE(pipes_.keys().empty());
  EXPECT_EQ(read({kKey, OutputPipes::kOut}, text_), OutputPipes::Got::end);
}

TEST_F(OutputPipesTest, CloseEndsAWaitThatHasBegun) {
  std::thread waiting([this] {
    std::vector<OutputPipes::Ready> ready;
    EXPECT_FALSE(pipes_.wait(ready));
  });
  pipes_.close();
  waiting.join();
}

}  // namespace
}  // namespace owngil::runtime
